# isthmus with the CPU build of torch and the studio: docker build -t isthmus .
FROM node:22-slim AS app
WORKDIR /source
COPY . .
RUN cd studio && npm ci --silent && npm run build

FROM python:3.12-slim
WORKDIR /source
COPY . .
COPY --from=app /source/src/isthmus/studio/app src/isthmus/studio/app
RUN pip install --no-cache-dir -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu \
      torch '.[audio,onnx,studio,tables]' \
    && rm -rf /source && useradd --create-home user
USER user
WORKDIR /data
ENTRYPOINT ["isthmus"]
CMD ["--help"]
