export interface LoggedForm<T> {
  readonly id: (value: T) => string;
  /** Newest first. */
  readonly versions: readonly LoggedVersion<T>[];
}

interface LoggedVersion<T> {
  readonly parts: (value: T) => readonly unknown[];
  /** The value as a record of this version vouches for it. */
  readonly vouched: (value: T) => T;
}

/** An earlier form of the text, to which older records commit. */
interface EarlierForm<T> {
  readonly digested: readonly (keyof T & string)[];
  /**
   * Replaces every field that the older text lacks by a value that grants nothing, because the row
   * may hold anything there.
   */
  readonly vouched: (value: T) => T;
}

type Encoders<T> = { readonly [Field in keyof T]?: (value: T[Field]) => unknown };

/**
 * States how a value becomes the text that its record commits to. `digested` names the fields in
 * the order of the text. `undigested` names every other field, with the reason why it may change
 * without a record. A field in neither list does not compile, so that a new field is in the digest
 * unless somebody gives a reason. `earlier` keeps the texts of older releases. The digest in the
 * newest record tells which text counts, never the row.
 */
export const form =
  <T>() =>
  <const Digested extends readonly (keyof T & string)[]>({
    id,
    digested,
    earlier = [],
    encode = {},
  }: {
    readonly id: (value: T) => string;
    readonly digested: Digested;
    readonly undigested: { readonly [Field in Exclude<keyof T, Digested[number]>]-?: string };
    readonly earlier?: readonly EarlierForm<T>[];
    readonly encode?: Encoders<T>;
  }): LoggedForm<T> => ({
    id,
    versions: [{ digested, vouched: (value: T) => value }, ...earlier].map((version) => ({
      parts: (value) =>
        version.digested.map((field) => {
          const special = (encode as Record<string, ((part: unknown) => unknown) | undefined>)[
            field
          ];
          return special === undefined ? encoded(value[field]) : special(value[field]);
        }),
      vouched: version.vouched,
    })),
  });

/**
 * The form of a value in the columns of a row: bytes as hex, flags as 0 or 1, lists and records as
 * JSON.
 */
function encoded(part: unknown): unknown {
  if (part === undefined || part === null) return null;
  if (typeof part === 'boolean') return part ? 1 : 0;
  if (part instanceof Uint8Array)
    return (Buffer.isBuffer(part) ? part : Buffer.from(part)).toString('hex');
  return typeof part === 'object' ? JSON.stringify(part) : part;
}
