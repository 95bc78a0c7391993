import { PkiError } from '../../common/errors/index.ts';
import type { OperatorCaller } from '../../services/callers/caller.ts';
import { wholeList } from '../../store/pages.ts';
import { entryMessage } from '../messages/entries.ts';
import type { OperationDependencies } from '../operation.ts';
import type { Fields } from './diff.ts';

/** Maximum number of parents whose state one preview looks up: that reads every entry below each. */
const maximumParents = 20;

/** The fields that a creator states: without fields of the server, and without unset ones. */
export function statedEntry(entry: object): Fields {
  const {
    revision: _r,
    createdAt: _c,
    updatedAt: _u,
    createdBy: _b,
    ...own
  } = entry as Record<string, unknown>;
  return Object.fromEntries(
    Object.entries(own).filter(
      ([, value]) =>
        value !== '' &&
        value !== 0 &&
        value !== false &&
        !(Array.isArray(value) && value.length === 0),
    ),
  );
}

export const presentEntry = (
  { services }: OperationDependencies,
  caller: OperatorCaller,
  id: string,
): Promise<Fields | undefined> =>
  foundOrNot(services.entries.get(caller, id).then((entry) => statedEntry(entryMessage(entry))));

/**
 * The nodes that are a parent now, and those that could become one with an open join token: an
 * entry is as safe as its node. Every open token is shown, since one that is left out would be the
 * way in.
 */
export async function parentLines(
  dependencies: OperationDependencies,
  caller: OperatorCaller,
  entries: readonly { readonly parentId: string }[],
): Promise<readonly string[]> {
  const { services, clock } = dependencies;
  const ids = [...new Set(entries.map(({ parentId }) => parentId))].filter((id) =>
    id.includes('/meshca/agent/'),
  );
  if (ids.length === 0) return [];
  const now = clock.now();
  const tokens = await wholeList((page) => services.tokens.list(caller, page));
  const open = Map.groupBy(
    tokens.filter(({ usedAt, expiresAt }) => usedAt === null && expiresAt > now),
    ({ agentId }) => agentId,
  );
  const lines = ids.map(
    async (id, at): Promise<readonly string[]> => [
      ...(at < maximumParents ? [await standingLine(dependencies, caller, id)] : []),
      ...(open.get(id) ?? []).map(
        (token) =>
          `now: the join token ${token.id} of ${token.createdBy} lets a node become ${id} ` +
          `until ${isoTime(token.expiresAt)}`,
      ),
    ],
  );
  const more = ids.slice(maximumParents);
  return [
    ...(await Promise.all(lines)).flat(),
    ...(more.length === 0
      ? []
      : [
          `now: not looked up was whether the other parents (${more.length}) have joined, ` +
            `see meshca agent show: ${more.join(', ')}`,
        ]),
  ];
}

async function standingLine(
  { services }: OperationDependencies,
  caller: OperatorCaller,
  id: string,
): Promise<string> {
  const detail = await foundOrNot(services.agents.get(caller, id));
  const standing =
    detail === undefined
      ? 'has not joined'
      : `is ${detail.agent.state}, joined ${isoTime(detail.agent.attestedAt)} by ${detail.agent.attestationType}`;
  return `now: the parent ${id} ${standing}`;
}

/** undefined instead of NOT_FOUND. */
async function foundOrNot<T>(looked: Promise<T>): Promise<T | undefined> {
  try {
    return await looked;
  } catch (thrown) {
    if (PkiError.from(thrown).code === 'NOT_FOUND') return undefined;
    throw thrown;
  }
}

/** Unix seconds as ISO 8601. */
export const isoTime = (seconds: number): string => new Date(seconds * 1000).toISOString();
