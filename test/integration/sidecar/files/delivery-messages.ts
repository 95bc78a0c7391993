/** A set's content as JSON; DER in base64. */
export interface WireContent {
  readonly spiffeId: string;
  readonly serial: string;
  readonly chain: readonly string[];
  readonly key: string;
  readonly roots: readonly string[];
  readonly digest: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

export type Question =
  | { readonly kind: 'lease' }
  | { readonly kind: 'apply' }
  | { readonly kind: 'rollback' }
  | { readonly kind: 'done'; readonly state: string; readonly current: string };

export interface Answer {
  readonly content?: WireContent;
}
