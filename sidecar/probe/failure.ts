/** Thrown inside the probe and never past it: `look` turns it into PROBE_FAILED. */
export class ProbeFailure extends Error {
  override readonly name = 'ProbeFailure';
  /** The server was reached, and by itself came to no handshake. */
  isRefusal = false;
}
