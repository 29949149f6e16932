# The same with torch, for the workers of the GPU queue or the pre-training's pod (airflow.gpu_pod.image).
# BASE: an image built from airflow.Dockerfile. Which torch it gets, CPU or CUDA, is the package index's choice.
ARG BASE
FROM ${BASE}
RUN cp -R . /tmp/source \
    && grep -v '^apache-airflow' requirements.lock.txt > /tmp/source/constraints.txt \
    && pip install --no-cache-dir --constraint /tmp/source/constraints.txt '/tmp/source[train,validate,dvc,airflow]' \
    && rm -r /tmp/source
