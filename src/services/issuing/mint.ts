import type { IssuedLeaf } from '../../issuance/issuer.ts';
import type { OperatorCaller } from '../callers/caller.ts';

export interface Mint {
  mint(
    caller: OperatorCaller,
    request: {
      readonly requestId: string;
      readonly spiffeId: string;
      readonly dnsNames: readonly string[];
      readonly csrDer: Buffer;
      /** 0: the default. */
      readonly ttlSeconds: number;
      readonly admin: boolean;
    },
    signal?: AbortSignal,
  ): Promise<{ readonly leaf: IssuedLeaf; readonly rootsDer: readonly Buffer[] }>;
}
