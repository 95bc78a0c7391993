import { isUuid, type Clock } from '../../common/runtime/index.ts';
import type { EabKey } from '../../domain/index.ts';
import type { EabKeyStore } from '../../store/ports/index.ts';
import { requireStanding } from './eab-standing.ts';
import { parseExternalAccountBinding, verifyExternalAccountBinding } from './external-account.ts';
import type { SignedRequest } from './gate.ts';
import { accept, refuse } from './problem.ts';

export interface ExternalAccountDependencies {
  /** Reads that the log vouches for. */
  readonly eabKeys: Pick<EabKeyStore, 'byId'>;
  /**
   * The MAC key of an EAB key, which the token derives from its ID.
   *
   * @throws PkiError HSM_*
   */
  readonly secretOf: (id: string) => Promise<Buffer>;
  readonly clock: Pick<Clock, 'now'>;
}

/** Binds new accounts to the EAB keys that their holders know (RFC 8555 section 7.3.4). */
export class ExternalAccounts {
  readonly #dependencies: ExternalAccountDependencies;

  constructor(dependencies: ExternalAccountDependencies) {
    this.#dependencies = dependencies;
  }

  /**
   * The EAB key of a binding. The transaction that makes the account checks again that it stands.
   *
   * @throws AcmeRefusal
   */
  async bind(binding: object | undefined, { url, key }: SignedRequest): Promise<EabKey> {
    if (binding === undefined)
      return refuse(
        'externalAccountRequired',
        'an account needs an external account binding. Ask the operators of this CA for a key ' +
          'ID and a MAC key ("meshca acme key create")',
      );
    const parsed = accept(parseExternalAccountBinding(binding, { url, account: key }));
    const { eabKeys, secretOf, clock } = this.#dependencies;
    const eabKey = isUuid(parsed.keyId) ? await eabKeys.byId(parsed.keyId) : undefined;
    // one answer: who does not know the MAC key learns nothing of key IDs
    if (eabKey === undefined || !verifyExternalAccountBinding(parsed, await secretOf(eabKey.id)))
      return refuse(
        'unauthorized',
        'the key ID or the MAC of the external account binding is wrong. Give the client the key ID ' +
          'and the MAC key as they were printed when the key was made; the MAC key is base64url',
      );
    requireStanding(eabKey, clock.now());
    requireFree(eabKey);
    return eabKey;
  }
}

function requireFree({ accounts, accountId }: EabKey): void {
  if (accounts === 'single' && accountId !== null)
    refuse(
      'unauthorized',
      'the EAB key is for one account, which it has already. Ask the operators of this CA for ' +
        'another one',
    );
}
