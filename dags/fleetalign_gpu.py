"""Where the one task that trains runs: pool, queue, executor, and its pod on Kubernetes."""

from __future__ import annotations

from typing import Any

from fleetalign.config import load

SETTINGS = load().airflow


def pod() -> dict[str, Any]:
    """Return the task's ``pod_override``; empty without ``airflow.gpu_pod.limits``."""
    if not SETTINGS.gpu_pod.limits:
        return {}
    from kubernetes.client import models as k8s

    limits = dict(SETTINGS.gpu_pod.limits)
    # GPU nodes are commonly tainted with the name of what they offer.
    offered = [name for name in limits if "/" in name]
    container = k8s.V1Container(
        name="base",
        image=SETTINGS.gpu_pod.image or None,
        resources=k8s.V1ResourceRequirements(limits=limits, requests=limits),
    )
    spec = k8s.V1PodSpec(
        containers=[container],
        node_selector=dict(SETTINGS.gpu_pod.node_selector) or None,
        tolerations=[k8s.V1Toleration(key=name, operator="Exists", effect="NoSchedule") for name in offered],
    )
    return {"executor_config": {"pod_override": k8s.V1Pod(spec=spec)}}


GPU: dict[str, Any] = {
    "pool": SETTINGS.pools.gpu,
    **({"queue": SETTINGS.gpu_queue} if SETTINGS.gpu_queue else {}),
    **({"executor": SETTINGS.gpu_executor} if SETTINGS.gpu_executor else {}),
    **pod(),
}
