# docker build -t mnemotomy . && docker run --rm -v "$PWD:/work" --user "$(id -u)" mnemotomy doctor
FROM python:3.11-slim

ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu \
    HOME=/home/surgeon \
    HF_HOME=/home/surgeon/models \
    MPLCONFIGDIR=/tmp/matplotlib

RUN useradd --create-home --uid 1000 surgeon && mkdir -p /work "$HF_HOME" && chmod 1777 /home/surgeon "$HF_HOME" /work

COPY pyproject.toml constraints.txt README.md LICENSE /source/
COPY src /source/src
RUN pip install --no-cache-dir --constraint /source/constraints.txt /source

USER 1000
WORKDIR /work
ENTRYPOINT ["mnemotomy"]
CMD ["--help"]
