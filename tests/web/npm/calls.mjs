// Calls a server's front end with the libraries that browsers use, as they come from npm.
// Usage: node calls.mjs ADDRESS DESCRIPTORS, where DESCRIPTORS is a file with a FileDescriptorSet.
// Prints one line of JSON: what each kind of call gave.
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary, toBinary, create } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";

const [address, descriptors] = process.argv.slice(2);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const service = registry.getService("impasto.v1.StyleTransfer");
const baseUrl = address.replace(/\/$/, "");
const photo = readFileSync(process.argv[4]);
const image = { source: { case: "encoded", value: photo } };
const spec = {
  content: image,
  styles: [{ image }],
  recipe: { duration: { case: "evaluations", value: 3 } },
};

const transports = {
  connectJson: createConnectTransport({ baseUrl }),
  connectBinary: createConnectTransport({ baseUrl, useBinaryFormat: true }),
  connectGet: createConnectTransport({ baseUrl, useHttpGet: true }),
  grpcWeb: createGrpcWebTransport({ baseUrl }),
};
const found = {};
for (const [name, transport] of Object.entries(transports)) {
  const client = createClient(service, transport);
  const info = await client.getServerInfo({});
  const kinds = new Set();
  for await (const event of client.stylize({ spec })) kinds.add(event.payload?.case ?? "?");
  let code = "";
  try {
    await client.getJob({ name: "nowhere" });
  } catch (error) {
    code = Code[ConnectError.from(error).code];
  }
  found[name] = { version: info.version, kinds: [...kinds].sort(), code };
}

// The library grpc-web needs a browser's XMLHttpRequest; this has as much of it as the library uses.
globalThis.XMLHttpRequest = class {
  headers = {};
  readyState = 0;
  status = 0;
  responseText = "";
  open(method, url) {
    Object.assign(this, { method, url, readyState: 1 });
  }
  setRequestHeader(key, value) {
    this.headers[key] = value;
  }
  getResponseHeader(key) {
    return this.response_?.headers.get(key) ?? null;
  }
  getAllResponseHeaders() {
    return [...this.response_.headers].map(([key, value]) => `${key}: ${value}\r\n`).join("");
  }
  abort() {}
  #move(state) {
    this.readyState = state;
    this.onreadystatechange?.();
  }
  async send(body) {
    this.response_ = await fetch(this.url, { method: this.method, headers: this.headers, body });
    this.status = this.response_.status;
    this.#move(2);
    const bytes = [];
    for await (const part of this.response_.body) {
      bytes.push(Buffer.from(part));
      if (this.responseType !== "arraybuffer") {
        this.responseText += Buffer.from(part).toString("latin1");
        this.#move(3);
      }
    }
    const all = Buffer.concat(bytes);
    this.response =
      this.responseType === "arraybuffer"
        ? all.buffer.slice(all.byteOffset, all.byteOffset + all.length)
        : this.responseText;
    this.#move(4);
    this.onloadend?.();
  }
};
const { default: grpcWeb } = await import("grpc-web");
for (const format of ["text", "binary"]) {
  const client = new grpcWeb.GrpcWebClientBase({ format });
  const described = (method) => {
    const { input, output } = service.method[method];
    const type = service.method[method].methodKind === "unary" ? "unary" : "server_streaming";
    return new grpcWeb.MethodDescriptor(
      `/impasto.v1.StyleTransfer/${service.method[method].name}`,
      type,
      Object,
      Object,
      (message) => toBinary(input, create(input, message)),
      (bytes) => fromBinary(output, bytes),
    );
  };
  const url = (method) => `${baseUrl}/impasto.v1.StyleTransfer/${service.method[method].name}`;
  const call = (method, message) =>
    new Promise((resolve, reject) =>
      client.rpcCall(url(method), message, {}, described(method), (error, answer) =>
        error ? reject(error) : resolve(answer),
      ),
    );
  const info = await call("getServerInfo", {});
  let code = "";
  await call("getJob", { name: "nowhere" }).catch((error) => (code = error.code));
  const entry = (found[`grpcWeb_${format}`] = { version: info.version, code });
  // The library streams in the text form only.
  if (format === "text") {
    entry.kinds = await new Promise((resolve, reject) => {
      const kinds = new Set();
      const stream = client.serverStreaming(url("stylize"), { spec }, {}, described("stylize"));
      stream.on("data", (event) => kinds.add(event.payload?.case ?? "?"));
      stream.on("error", reject);
      stream.on("end", () => resolve([...kinds].sort()));
    });
  }
}
console.log(JSON.stringify(found));
