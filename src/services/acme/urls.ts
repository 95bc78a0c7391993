import { isUuid } from '../../common/runtime/index.ts';
import type { ChallengeType } from '../../domain/index.ts';

/** The path of every resource of ACME, below the public base URL. */
export const acmePath = '/acme';

/** The URLs that clients see. They follow from the configuration, never from a request. */
export class AcmeUrls {
  readonly #base: string;

  /** @param publicBaseUrl the base URL of the HTTP front */
  constructor(publicBaseUrl: string) {
    this.#base = `${publicBaseUrl.replace(/\/+$/, '')}${acmePath}`;
  }

  get directory(): string {
    return `${this.#base}/directory`;
  }

  /** What limits there are, for people. */
  get limits(): string {
    return `${this.#base}/limits`;
  }

  /** Of a path below `/acme`, as it was sent. */
  at(path: string): string {
    return `${this.#base}${path.slice(acmePath.length)}`;
  }

  account(id: string): string {
    return `${this.#base}/account/${id}`;
  }

  /** @param after the last order of the page before */
  orders(accountId: string, after?: string): string {
    return `${this.account(accountId)}/orders${after === undefined ? '' : `/${after}`}`;
  }

  order(id: string): string {
    return `${this.#base}/order/${id}`;
  }

  finalize(orderId: string): string {
    return `${this.order(orderId)}/finalize`;
  }

  authorization(orderId: string, place: number): string {
    return `${this.#base}/authz/${orderId}/${place}`;
  }

  challenge(orderId: string, place: number, type: ChallengeType): string {
    return `${this.#base}/chall/${orderId}/${place}/${type}`;
  }

  /** @param alternate the number of another chain, from 1 */
  certificate(serial: string, alternate?: number): string {
    const url = `${this.#base}/cert/${serial}`;
    return alternate === undefined ? url : `${url}/alternate/${alternate}`;
  }

  /** The ID in the URL of an account. Undefined: it is none of ours. */
  accountIdIn(url: string): string | undefined {
    const prefix = this.account('');
    const id = url.startsWith(prefix) ? url.slice(prefix.length) : '';
    return isUuid(id) ? id : undefined;
  }

  /** The members of the directory (RFC 8555 section 7.1.1, RFC 9773 section 3). */
  resources(): Readonly<Record<string, string>> {
    return {
      newNonce: `${this.#base}/new-nonce`,
      newAccount: `${this.#base}/new-account`,
      newOrder: `${this.#base}/new-order`,
      revokeCert: `${this.#base}/revoke-cert`,
      keyChange: `${this.#base}/key-change`,
      renewalInfo: `${this.#base}/renewal-info`,
    };
  }
}
