# Airflow with fleetalign's DAG steps, without torch: scheduler, API server and workers of every queue but the GPU's.
# BASE: an Airflow image of a version that docs/install.md names, with Python 3.11.
ARG BASE
FROM ${BASE}
WORKDIR /opt/fleetalign
COPY pyproject.toml README.md LICENSE requirements.lock.txt ./
COPY tasks tasks
COPY expectations expectations
COPY dags dags
COPY infra/airflow infra/airflow
# Versions of the lock, but for Airflow: the base keeps its own.
RUN grep -v '^apache-airflow' requirements.lock.txt > /tmp/constraints.txt \
    && pip install --no-cache-dir --constraint /tmp/constraints.txt '.[build,validate,dvc,airflow]' \
    && rm /tmp/constraints.txt
ENV AIRFLOW__CORE__DAGS_FOLDER=/opt/fleetalign/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/fleetalign/infra/airflow/plugins \
    GX_ANALYTICS_ENABLED=false \
    OMP_NUM_THREADS=1
