# Airflow with fleetalign's DAG steps, without torch: scheduler, API server and workers of every queue but the GPU's.
# BASE: an Airflow image of a version that docs/install.md names, with Python 3.11 and git.
ARG BASE
FROM ${BASE}
WORKDIR /opt/fleetalign
COPY pyproject.toml README.md LICENSE requirements.lock.txt ./
COPY tasks tasks
COPY expectations expectations
COPY dags dags
COPY infra/airflow infra/airflow
# Built from a copy: Airflow's images run pip as a user that may not write here, and a build leaves files in its source.
# Versions of the lock, but for Airflow: the base keeps its own.
RUN cp -R . /tmp/source \
    && grep -v '^apache-airflow' requirements.lock.txt > /tmp/source/constraints.txt \
    && pip install --no-cache-dir --constraint /tmp/source/constraints.txt '/tmp/source[build,validate,dvc,airflow]' \
    && rm -r /tmp/source
ENV AIRFLOW__CORE__DAGS_FOLDER=/opt/fleetalign/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/fleetalign/infra/airflow/plugins \
    GX_ANALYTICS_ENABLED=false \
    OMP_NUM_THREADS=1
