/**
 * A step forward; there is no step back. The text of a released migration never changes: its
 * checksum is recorded and compared.
 */
export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
  /** The step changes the text of the schema itself, which connections refuse otherwise. */
  readonly editsSchema?: true;
}
