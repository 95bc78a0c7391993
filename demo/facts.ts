import { setTimeout as sleep } from 'node:timers/promises';
import { PkiError } from '../src/common/errors/index.ts';
import type { AuthorityFacts } from './model.ts';

/** Text from the operations port of a part; throws when it does not answer with 200. */
export async function readText(port: number, path: string, signal: AbortSignal): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, { signal });
      const text = await response.text();
      if (response.ok) return text;
      throw new PkiError(
        'DEMO_PART_FAILED',
        `${path} answered ${response.status}: ${text.slice(0, 200)}`,
      );
    } catch (thrown) {
      signal.throwIfAborted();
      // the other side may close a kept connection at the moment of its reuse
      if (thrown instanceof PkiError || attempt === 5)
        throw thrown instanceof PkiError
          ? thrown
          : new PkiError(
              'DEMO_PART_FAILED',
              `http://127.0.0.1:${port}${path} does not answer: ${reasonOf(thrown)}`,
              { cause: thrown },
            );
      await sleep(100, undefined, { signal });
    }
  }
}

/** The reason of a failed fetch, which is only in its cause. */
const reasonOf = (thrown: unknown): string => {
  const { message, cause } = thrown as Error;
  return cause instanceof Error ? cause.message : message;
};

/** Undefined while nobody answers. */
export async function readReadiness(
  port: number,
  signal: AbortSignal,
): Promise<{ readonly ready: boolean; readonly reasons: readonly string[] } | undefined> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/ready`, { signal });
    const { reasons } = (await response.json()) as { readonly reasons?: readonly string[] };
    return { ready: response.ok, reasons: reasons ?? [] };
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

interface ListedAuthority {
  readonly kind: string;
  readonly state: string;
  readonly keyType: string;
  readonly notAfter: number;
}

/** Root and issuing authority in words, from `authority list --json`. */
export async function readFacts(
  list: () => Promise<string>,
): Promise<{ readonly root?: AuthorityFacts; readonly issuing?: AuthorityFacts }> {
  const parsed = JSON.parse(await list()) as
    | readonly ListedAuthority[]
    | { readonly authorities: readonly ListedAuthority[] };
  const authorities = 'authorities' in parsed ? parsed.authorities : parsed;
  const active = (kind: string): AuthorityFacts | undefined => {
    const authority = authorities.find(
      (candidate) => candidate.kind === kind && candidate.state === 'active',
    );
    return authority === undefined
      ? undefined
      : {
          text: `${authority.keyType} until ${new Date(authority.notAfter * 1000).toISOString().slice(0, 10)}`,
          notAfter: authority.notAfter,
        };
  };
  const [root, issuing] = [active('root'), active('issuing')];
  return { ...(root === undefined ? {} : { root }), ...(issuing === undefined ? {} : { issuing }) };
}
