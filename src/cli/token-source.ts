import { readFileSync } from 'node:fs';
import { PkiError } from '../common/errors/index.ts';
import { isLoopbackUrl } from '../common/runtime/index.ts';
import type { CliContext } from './context.ts';

export interface TokenSourceFlags {
  readonly tokenFile?: string;
  readonly tokenEnv?: string;
  readonly tokenStdin?: boolean;
  readonly audience?: string;
}

const gitLabVariable = 'MESHCA_ID_TOKEN';
const defaultAudience = 'meshca';
const requestTimeoutMs = 15_000;
const maximumAnswer = 64 * 1024;

/**
 * The token of a job: from a file, a variable or standard input; else from the platform on which
 * the job runs. A token is never an argument, since other users can list those.
 *
 * @throws PkiError INVALID_REQUEST, UNREACHABLE, CALLER_NOT_ADMITTED
 */
export async function jobToken(context: CliContext, flags: TokenSourceFlags): Promise<string> {
  const named = [flags.tokenFile, flags.tokenEnv, flags.tokenStdin].filter(
    (source) => source !== undefined && source !== false,
  );
  if (named.length > 1)
    throw new PkiError(
      'INVALID_REQUEST',
      'only one of --token-file, --token-env and --token-stdin can be given',
    );
  const token = (await read(context, flags)).trim();
  if (token === '')
    throw new PkiError('INVALID_REQUEST', 'the token is empty', {
      next: 'Look whether the job may get a token: docs/tokens.md says how for each platform.',
    });
  return token;
}

async function read(context: CliContext, flags: TokenSourceFlags): Promise<string> {
  const { tokenFile, tokenEnv, tokenStdin } = flags;
  if (tokenStdin === true) return context.readStdin();
  if (tokenFile !== undefined) {
    try {
      return readFileSync(tokenFile, 'utf8');
    } catch (thrown) {
      throw new PkiError(
        'INVALID_REQUEST',
        `${tokenFile} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`,
        { next: 'Check the path and its permissions.' },
      );
    }
  }
  const { env } = context;
  if (tokenEnv !== undefined) {
    const value = env[tokenEnv];
    if (value !== undefined) return value;
    throw new PkiError('INVALID_REQUEST', `the variable ${tokenEnv} is not set`, {
      next: 'Name the variable under which the job gets its token (id_tokens in GitLab).',
    });
  }
  const url = env['ACTIONS_ID_TOKEN_REQUEST_URL'];
  const bearer = env['ACTIONS_ID_TOKEN_REQUEST_TOKEN'];
  if (url !== undefined && bearer !== undefined)
    return fromGitHub(url, bearer, flags.audience ?? defaultAudience);
  const value = env[gitLabVariable];
  if (value !== undefined) return value;
  throw new PkiError('INVALID_REQUEST', 'there is no token: the platform offers none to this job', {
    next:
      'GitHub Actions: give the job "permissions: id-token: write". GitLab: add ' +
      `${gitLabVariable} to id_tokens. Elsewhere: --token-file, --token-env or --token-stdin.`,
  });
}

/** The token that GitHub Actions makes on request. */
async function fromGitHub(text: string, bearer: string, audience: string): Promise<string> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // the request carries a secret
  if (url === undefined || (url.protocol !== 'https:' && !isLoopbackUrl(url)))
    throw new PkiError('INVALID_REQUEST', 'ACTIONS_ID_TOKEN_REQUEST_URL is no https URL');
  url.searchParams.set('audience', audience);
  try {
    const response = await fetch(url, {
      headers: { authorization: `Bearer ${bearer}`, accept: 'application/json' },
      redirect: 'error',
      signal: AbortSignal.timeout(requestTimeoutMs),
    });
    const body = await response.text();
    if (response.status === 401 || response.status === 403) throw refusedByGitHub(response.status);
    if (!response.ok || body.length > maximumAnswer)
      throw new Error(`it answers with status ${response.status}`);
    const { value } = JSON.parse(body) as { readonly value?: unknown };
    if (typeof value !== 'string') throw new Error('its answer has no token');
    return value;
  } catch (thrown) {
    if (thrown instanceof PkiError) throw thrown;
    throw new PkiError('UNREACHABLE', `GitHub Actions gave no token: ${reasonOf(thrown)}`, {
      cause: thrown,
      next: 'Run the job again.',
    });
  }
}

const refusedByGitHub = (status: number): PkiError =>
  new PkiError(
    'CALLER_NOT_ADMITTED',
    `GitHub Actions gave no token: it answers with status ${status}`,
    {
      next:
        'Give the job "permissions: id-token: write", and run it again. Outside of its job, ' +
        'the address of the platform gives no token.',
    },
  );

/** `fetch failed` says nothing; its cause does. */
function reasonOf(thrown: unknown): string {
  const { message, cause } = thrown as Error;
  if (!(cause instanceof Error)) return message;
  // of several addresses that failed, the error has no message
  return cause.message || ((cause as NodeJS.ErrnoException).code ?? message);
}
