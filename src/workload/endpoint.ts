import { isIP } from 'node:net';
import { fail, ok, type Result } from '../common/errors/index.ts';

/** The address of a Workload API, in the form of a grpc-js target. */
export interface WorkloadEndpoint {
  /** As the user wrote it. */
  readonly text: string;
  readonly grpcTarget: string;
}

/**
 * An endpoint as SPIFFE_ENDPOINT_SOCKET states it (SPIFFE Workload Endpoint section 4):
 * `unix:///absolute/path` or `tcp://IP:port`, nothing else: no relative path, no host name, no
 * user, query or fragment.
 */
export function parseEndpoint(text: string): Result<WorkloadEndpoint> {
  if (text.startsWith('unix:')) return unixEndpoint(text);
  if (text.startsWith('tcp:')) return tcpEndpoint(text);
  return bad(text, 'must start with unix:// or tcp://');
}

/** An endpoint from the absolute path of a Unix socket. */
export const endpointOfSocket = (socketPath: string): Result<WorkloadEndpoint> =>
  parseEndpoint(`unix://${socketPath}`);

function unixEndpoint(text: string): Result<WorkloadEndpoint> {
  if (!text.startsWith('unix:///'))
    return bad(text, 'needs an absolute path after unix:// (three slashes in all)');
  const path = text.slice('unix://'.length);
  if (/[?#]/.test(path)) return bad(text, 'must not have a query or a fragment');
  if (path.includes('\0')) return bad(text, 'has a NUL in its path');
  if (path.endsWith('/')) return bad(text, 'names a directory, not a socket');
  // sun_path of sockaddr_un has 108 octets, one of them for the NUL: the kernel would truncate
  // silently
  if (Buffer.byteLength(path) > 107)
    return bad(text, 'has a path longer than the 107 bytes that a Unix socket can have');
  return ok({ text, grpcTarget: `unix:${path}` });
}

function tcpEndpoint(text: string): Result<WorkloadEndpoint> {
  const match = /^tcp:\/\/(?:\[([^\]]+)\]|([^:/?#[\]@]+)):([0-9]{1,5})$/.exec(text);
  if (match === null) return bad(text, 'must be tcp://IP:port, with nothing behind the port');
  const [, six, four, portText] = match;
  const address = (six ?? four) as string;
  const family = isIP(address);
  if (family === 0) return bad(text, 'must name an IP address, not a host name');
  if ((family === 6) !== (six !== undefined))
    return bad(text, 'has an IPv6 address without brackets, or brackets around IPv4');
  const port = Number(portText);
  if (port < 1 || port > 65_535) return bad(text, 'has a port outside 1 to 65535');
  return ok({
    text,
    grpcTarget: family === 6 ? `ipv6:[${address}]:${port}` : `ipv4:${address}:${port}`,
  });
}

const bad = (text: string, why: string): Result<WorkloadEndpoint> =>
  fail(
    'ENDPOINT_INVALID',
    `the Workload API endpoint ${JSON.stringify(text.slice(0, 200))} ${why}`,
  );
