// A TCP proxy that ends connections in the middle of what the server says: after a number of bytes that differs from
// one to the next, in turn with a FIN and with a reset. Never looks at what it carries.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class CuttingProxy {
  // `base` is the URL of the server, `lengths` are the bytes that pass before a connection ends: used in a circle.
  static async start(base, lengths) {
    const proxy = new CuttingProxy();
    Object.assign(proxy, { lengths, cuts: 0, connections: 0, cutting: false, open: new Set() });
    const { hostname, port } = new URL(base);
    proxy.server = createServer(client => proxy.carry(client, connect(Number(port), hostname)));
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    proxy.base = `http://127.0.0.1:${proxy.server.address().port}`;
    return proxy;
  }

  carry(client, server) {
    let left = this.lengths[this.connections++ % this.lengths.length];
    this.open.add(client);
    client.on("data", bytes => server.write(bytes));
    server.on("data", bytes => {
      if (!this.cutting || bytes.length <= left) {
        if (this.cutting) left -= bytes.length;
        client.write(bytes);
        return;
      }
      server.destroy();
      this.cuts += 1;
      client.write(bytes.subarray(0, left), () => (this.cuts % 2 ? client.destroy() : client.resetAndDestroy()));
    });
    server.on("close", () => client.end());
    client.on("close", () => (this.open.delete(client), server.destroy()));
    for (const socket of [client, server]) socket.on("error", () => {});
  }

  stop() {
    this.server.close();
    for (const client of this.open) client.destroy();
  }
}
