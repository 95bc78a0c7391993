import { PkiError } from '../../src/common/errors/index.ts';
import { errorFields, type Logger } from '../../src/common/runtime/index.ts';
import { sha256Hex } from '../../src/common/x509/index.ts';
import { readBundleFile, type BundleDocument } from '../bundle/index.ts';
import { fingerprintsHex, type AgentConfig } from '../config.ts';
import type { AgentState, LostState } from '../state/index.ts';

export interface RestoredBundleDependencies {
  readonly state: AgentState;
  readonly lost: LostState;
  readonly bootstrap: AgentConfig['bootstrap'];
  readonly logger: Logger;
}

/**
 * The bundle that this agent begins with. Where its file is lost or damaged, the copy beside its own
 * SVID takes its place and walks forward by signed steps, so that no root comes back that has left
 * the bundle since. Only without that copy what the operator configured counts again. Throws
 * STATE_CORRUPT where nothing is left to begin with.
 */
export async function restoredBundle(
  dependencies: RestoredBundleDependencies,
): Promise<BundleDocument | undefined> {
  const { state, lost, logger } = dependencies;
  const kept = await state.bundle().catch((thrown: unknown) => PkiError.from(thrown));
  // a file that others may have written is no reason to go on
  if (kept instanceof PkiError && kept.code !== 'STATE_CORRUPT') throw kept;
  const copy = await state.bundleCopy();
  const wrong = whatIsWrong(kept, copy?.document);
  if (wrong === undefined || copy === undefined) {
    if (kept instanceof PkiError) return withoutBundle(kept, dependencies);
    if (kept === undefined) return neverKept(dependencies);
    warnOfStaleFingerprint(kept, dependencies);
    return kept;
  }
  // before it is mended: an agent that ends in between would not find it again
  await lost.add('bundle.json', wrong);
  const { sequence } = copy.document;
  logger.warn(
    { ...(kept instanceof PkiError ? errorFields(kept) : {}), sequence },
    `bundle.json is ${wrong}; the agent goes on with the copy beside its own SVID`,
  );
  await state.saveBundle(copy.json);
  warnOfStaleFingerprint(copy.document, dependencies);
  return copy.document;
}

/** What the copy mends. */
function whatIsWrong(
  kept: BundleDocument | PkiError | undefined,
  copy: BundleDocument | undefined,
): 'missing' | 'damaged' | 'older than the SVID' | undefined {
  if (copy === undefined) return undefined;
  if (kept === undefined) return 'missing';
  if (kept instanceof PkiError) return 'damaged';
  return kept.sequence < copy.sequence ? 'older than the SVID' : undefined;
}

/** There is no file and no copy. An agent that has an SVID had one. */
async function neverKept({
  state,
  lost,
  bootstrap,
}: RestoredBundleDependencies): Promise<BundleDocument | undefined> {
  if ((await state.credential()) !== undefined) {
    await lost.add('bundle.json', 'missing');
    if (!provesServer(bootstrap))
      throw new PkiError(
        'STATE_CORRUPT',
        `bundle.json is missing from ${state.directory}, and the configuration has neither ` +
          'bootstrap.rootFingerprint nor bootstrap.bundlePath; bootstrap.insecureBootstrap ' +
          'counts for the first attestation alone',
        {
          next:
            'Set bootstrap.rootFingerprint to the one that "meshca token create" prints on ' +
            'the server (in place of bootstrap.insecureBootstrap), or put the file back.',
        },
      );
  }
  return configuredBundle(bootstrap);
}

/** The file is damaged, and there is no copy: what the operator configured counts again. */
async function withoutBundle(
  damaged: PkiError,
  { lost, bootstrap, logger }: RestoredBundleDependencies,
): Promise<BundleDocument | undefined> {
  if (!provesServer(bootstrap)) throw damaged;
  await lost.add('bundle.json', 'damaged');
  logger.warn({ ...errorFields(damaged) }, 'bundle.json is damaged; bootstrap counts again');
  return configuredBundle(bootstrap);
}

/** Whoever answers is believed at the very first contact only: here there was one before. */
const provesServer = ({ bundlePath, rootFingerprint }: AgentConfig['bootstrap']): boolean =>
  bundlePath !== undefined || rootFingerprint !== undefined;

const configuredBundle = async ({
  bundlePath,
}: AgentConfig['bootstrap']): Promise<BundleDocument | undefined> =>
  bundlePath === undefined ? undefined : readBundleFile(bundlePath);

/** It is of use only while a root that it names is in the bundle. */
function warnOfStaleFingerprint(
  { rootsDer }: BundleDocument,
  { bootstrap, logger }: Pick<RestoredBundleDependencies, 'bootstrap' | 'logger'>,
): void {
  if (bootstrap.rootFingerprint === undefined) return;
  const held = new Set(rootsDer.map(sha256Hex));
  if (fingerprintsHex(bootstrap.rootFingerprint).some((each) => held.has(each))) return;
  logger.warn(
    { held: [...held] },
    'bootstrap.rootFingerprint names no root of the bundle that is held: a node without its ' +
      'data directory could not join with it; take the one that "meshca token create" prints',
  );
}
