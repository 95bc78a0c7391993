import { createServer } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';

/**
 * The cost of the platform alone: a grpc-js handler on injected Unix sockets that answers with
 * fixed bytes. Run as a child: `{ path, bytes }` is answered by 'ready'.
 */
if (process.argv[2] === '--bare-handler') {
  process.on('message', ({ path, bytes }: { readonly path: string; readonly bytes: number }) => {
    const message = Buffer.alloc(bytes, 1);
    const same = (value: Buffer): Buffer => value;
    const server = new Server();
    const Fetch = {
      path: '/SpiffeWorkloadAPI/FetchX509SVID',
      requestStream: false,
      responseStream: true,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    };
    server.addService(
      { Fetch },
      { Fetch: (call: { write(value: Buffer): void }) => call.write(message) },
    );
    const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
    createServer((socket) => injector.injectConnection(socket)).listen(path, () =>
      process.send?.('ready'),
    );
  });
  process.on('disconnect', () => process.exit(0));
}
