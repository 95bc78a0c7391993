import { PkiError } from '../common/errors/index.ts';
import type { GlobalOptions } from './action.ts';
import { withAdmin } from './connect.ts';
import type { CliContext } from './context.ts';

const agentPath = /^spiffe:\/\/[^/]+\/meshca\/agent\//;

/**
 * Resolves the SPIFFE ID of an agent, given whole, as the last segment of its path, or as its path
 * in tables. Throws NOT_FOUND if no agent has this name, and INVALID_REQUEST if several have.
 */
export async function agentId(
  context: CliContext,
  options: GlobalOptions,
  text: string,
): Promise<string> {
  if (!/^[A-Za-z0-9._/-]+$/.test(text)) return text;
  const end = text.startsWith('/') ? text : `/${text}`;
  const named: string[] = [];
  for await (const id of agentIds(context, options)) if (id.endsWith(end)) named.push(id);
  const [match, ...more] = named;
  if (match === undefined)
    throw new PkiError('NOT_FOUND', `no agent has the name ${text}`, {
      next: 'See meshca agent list.',
    });
  if (more.length > 0)
    throw new PkiError(
      'INVALID_REQUEST',
      `several agents have the name ${text}: ${named.slice(0, 10).join(', ')}${named.length > 10 ? ' and others' : ''}`,
      { next: 'Give the whole SPIFFE ID.' },
    );
  return match;
}

/**
 * The parents that are IDs of agents and have never joined. On the local socket only: a remote
 * caller may have no right to read agents, which would leave a refusal in the log.
 */
export async function absentParents(
  context: CliContext,
  options: GlobalOptions,
  parentIds: readonly string[],
): Promise<readonly string[]> {
  const absent = new Set(parentIds.filter((id) => agentPath.test(id)));
  if (absent.size === 0 || options.server !== undefined) return [];
  for await (const id of agentIds(context, options)) {
    absent.delete(id);
    if (absent.size === 0) break;
  }
  return [...absent];
}

/** The IDs of agents in every state. */
async function* agentIds(context: CliContext, options: GlobalOptions): AsyncGenerator<string> {
  let token = '';
  do {
    const { agents, nextPageToken } = await withAdmin(context, options, 'Agents', (calls) =>
      calls.call('ListAgents', { page: { size: 500, token }, state: '' }),
    );
    for (const { spiffeId } of agents) yield spiffeId;
    token = nextPageToken;
  } while (token !== '');
}
