/**
 * A step forward; there is none back. Its text never changes once released: the checksum is
 * recorded and compared.
 */
export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
}
