import { PkiError } from '../../common/errors/index.ts';
import {
  isIssuingKind,
  isRootKind,
  parentOf,
  type AuthorityState,
  type RotationAction,
  type RotationOperation,
  type TokenRole,
} from '../../domain/index.ts';
import type { TokenAdmin } from '../../hsm/token-port.ts';
import type { AuthorityStore, Lease } from '../../store/ports/index.ts';
import {
  completeAuthority,
  recordAuthority,
  type CompletionAsk,
  type MakerDependencies,
} from '../authority-maker.ts';
import type { Observation } from './observer.ts';

export interface PreparationDependencies extends Omit<MakerDependencies, 'authorities'> {
  readonly store: { readonly authorities: AuthorityStore };
  /** Opens a session process on a token. The caller closes it when its work is done. */
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  /** Called once for each transition. */
  readonly moved: (kind: string, to: AuthorityState) => void;
}

/**
 * Makes the record with its CKA_ID, the key in its token and the certificate from the root's token,
 * and moves the authority to `prepared`.
 */
export async function prepare(
  operation: RotationOperation,
  observation: Observation,
  lease: Lease,
  dependencies: PreparationDependencies,
): Promise<void> {
  const { store } = dependencies;
  const { kind, spec } = operation;
  const makerDependencies = { ...dependencies, authorities: store.authorities };
  const recorded = await store.authorities.byId(spec.successorId);
  const parentId =
    recorded?.parentId ??
    parentOf(kind, spec.parentId, { authorities: observation.facts, now: observation.now })?.id ??
    null;
  const parent = parentId === null ? undefined : await store.authorities.byId(parentId);
  if (isIssuingKind(kind) && parent === undefined)
    throw new PkiError('NO_ISSUER', 'no active root can sign a new issuing authority');
  const authority =
    recorded ??
    (await recordAuthority(
      {
        id: spec.successorId,
        kind,
        parentId,
        ...(spec.scope === undefined ? {} : { scope: spec.scope }),
        actor: operation.createdBy,
        lease,
      },
      makerDependencies,
    ));
  dependencies.step?.(`${kind}-recorded`);
  await complete({ authority, parent, actor: operation.createdBy, lease }, dependencies);
  dependencies.step?.(`${kind}-prepared`);
}

async function complete(
  ask: Pick<CompletionAsk, 'authority' | 'parent' | 'actor' | 'lease'>,
  dependencies: PreparationDependencies,
): Promise<void> {
  const { store, openToken } = dependencies;
  const { authority, parent } = ask;
  const token = await openToken(authority.token);
  try {
    const unlike =
      parent !== undefined && parent.token !== authority.token
        ? await openToken(parent.token)
        : undefined;
    try {
      await completeAuthority(
        { ...ask, token, signingToken: isRootKind(authority.kind) ? token : (unlike ?? token) },
        { ...dependencies, authorities: store.authorities },
      );
    } finally {
      await unlike?.close();
    }
  } finally {
    await token.close();
  }
  dependencies.moved(authority.kind, 'prepared');
}

/** Makes an authority in the standby token, without an operation. It is published and waits. */
export async function prepareStandby(
  { kind, parentId, authority: recorded }: Extract<RotationAction, { type: 'standby' }>,
  lease: Lease,
  dependencies: PreparationDependencies,
): Promise<void> {
  const { store } = dependencies;
  const parent = parentId === null ? undefined : await store.authorities.byId(parentId);
  const authority =
    recorded ??
    (await recordAuthority(
      { kind, parentId, token: 'standby', lease },
      { ...dependencies, authorities: store.authorities },
    ));
  dependencies.step?.(`${kind}-standby-recorded`);
  await complete({ authority, parent, actor: 'server', lease }, dependencies);
}
