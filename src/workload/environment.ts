import { env } from 'node:process';

/**
 * The one thing this library reads from its process: SPIFFE_ENDPOINT_SOCKET, as the standard asks
 * (Workload Endpoint section 4).
 */
export const endpointFromEnvironment = (): string | undefined => env['SPIFFE_ENDPOINT_SOCKET'];
