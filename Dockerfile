# The book in a container: environment and data are in the image, and nothing is fetched when it runs.
#   docker build -t pose-book .
#   docker run --rm -p 127.0.0.1:8888:8888 pose-book
FROM python:3.12-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 reader && mkdir /book && chown reader /book
USER reader
WORKDIR /book
COPY --chown=reader . .
RUN make setup
RUN make data
EXPOSE 8888
CMD [".venv/bin/jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "chapters"]
