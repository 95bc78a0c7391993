import type { HelloInput } from './client-hello.ts';
import type { Records } from './records.ts';
import type { ServerHello } from './server-hello.ts';

/** The handshake as far as both sides said hello. */
export interface Greeted<Kind extends ServerHello['kind']> {
  readonly records: Records;
  readonly input: HelloInput;
  readonly hello: Extract<ServerHello, { readonly kind: Kind }>;
  /** All handshake messages up to and with ServerHello. */
  readonly transcript: readonly Buffer[];
}
