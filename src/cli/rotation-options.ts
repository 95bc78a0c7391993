import { PkiError } from '../common/errors/index.ts';
import { parseAge } from './output.ts';

export interface StepFlags {
  readonly kind?: string;
  readonly reason?: string;
  readonly force?: boolean;
  readonly share?: string;
  readonly wait: boolean;
}

export interface Place {
  readonly region?: string;
  readonly replica?: string;
}

/**
 * The place where the authority signs. It is checked for all kinds before the first rotation
 * begins.
 */
export function placeOf(
  { region = '', replica = '' }: Place,
  kinds: readonly string[],
): Required<Place> {
  if ((region !== '' || replica !== '') && kinds.some((kind) => kind !== 'issuing'))
    throw new PkiError(
      'INVALID_REQUEST',
      '--region and --replica can be used with --kind issuing only',
    );
  return { region, replica };
}

export interface CanaryFlags {
  readonly canary?: string;
  readonly canarySelector?: readonly string[];
  readonly hold: string;
  readonly maxFailures: string;
}

/** The steps of a canary; empty without any. */
export function canaryOf(options: CanaryFlags) {
  const steps = canarySteps(options.canary, options.canarySelector);
  if (steps.length === 0) return {};
  return {
    canary: {
      steps,
      holdSeconds: parseAge(options.hold),
      maximumFailureRate: Number(options.maxFailures),
    },
  };
}

/** Nodes by selector first, then by share. */
function canarySteps(
  shares: string | undefined,
  selectors: readonly string[] | undefined,
): { share: number; selectors: string[] }[] {
  return [
    ...(selectors === undefined ? [] : [{ share: 0, selectors: [...selectors] }]),
    ...(shares ?? '')
      .split(',')
      .filter((text) => text !== '')
      .map((text) => {
        const share = text.endsWith('%') ? Number(text.slice(0, -1)) / 100 : Number(text);
        if (!(share > 0 && share <= 1))
          throw new PkiError(
            'INVALID_REQUEST',
            `--canary ${JSON.stringify(text)} is neither a share (0.1) nor a percentage (10%)`,
          );
        return { share, selectors: [] };
      }),
  ];
}

export function sharesOf(options: { readonly share?: string }): {
  shares?: { proven: number; inferred: number; unprovable: number };
} {
  if (options.share === undefined) return {};
  const share = Number(options.share);
  if (!(share >= 0 && share <= 1))
    throw new PkiError(
      'INVALID_REQUEST',
      `--share ${JSON.stringify(options.share)} is not between 0 and 1`,
    );
  return { shares: { proven: share, inferred: share, unprovable: share } };
}
