import { PkiError } from '../../../common/errors/index.ts';
import {
  failureTypes,
  invalid,
  type CaaAsk,
  type ChallengeValidator,
  type Evidence,
  type FailureType,
  type Judged,
  type ValidationAsk,
} from '../../../common/validation/index.ts';
import type { Perspective } from '../../../domain/index.ts';
import type { VantagePoints } from './vantage-points.ts';
import type { VantageAsk } from './vantage-task.ts';

/** What came of a validation, seen from all places. */
export interface Opinion {
  /** Of the server itself, and where it is valid of all together. */
  readonly judged: Judged<Evidence>;
  /** Empty: nobody else was asked. */
  readonly perspectives: readonly Perspective[];
  /** Too few have looked: nothing follows, and it is tried again. `judged` says what is missing. */
  readonly isShort: boolean;
}

export interface CorroboratorDependencies {
  /** The server's own view. */
  readonly own: ChallengeValidator;
  readonly points: Pick<VantagePoints, 'isOn' | 'ask' | 'shortfall' | 'tooFew'>;
  readonly caaIdentities: readonly string[];
}

/**
 * Validates from here, and then from the configured places: one poisoned resolver or route decides
 * nothing (RFC 8555 section 10.2). What fails here is asked nowhere else.
 */
export class Corroborator {
  readonly #dependencies: CorroboratorDependencies;

  constructor(dependencies: CorroboratorDependencies) {
    this.#dependencies = dependencies;
  }

  /** Why nothing can be corroborated now. Undefined: enough vantage agents are connected. */
  shortfall(): PkiError | undefined {
    return this.#dependencies.points.shortfall();
  }

  async validate(ask: ValidationAsk, signal: AbortSignal): Promise<Opinion> {
    const { type, identifier, wildcard, token, keyAuthorization, accountUri } = ask;
    const own = await this.#dependencies.own.validate(ask, signal);
    return this.#corroborated(
      own,
      {
        ...{ challenge: type, identifier, wildcard, token, keyAuthorization, accountUri },
        caaMethod: '',
      },
      signal,
    );
  }

  async caa(ask: CaaAsk, signal: AbortSignal): Promise<Opinion> {
    const { name, wildcard, accountUri, method } = ask;
    const own = await this.#dependencies.own.caa(ask, signal);
    return this.#corroborated(
      own,
      {
        ...{ challenge: 'caa', identifier: { type: 'dns', value: name }, wildcard, accountUri },
        ...{ token: '', keyAuthorization: '', caaMethod: method },
      },
      signal,
    );
  }

  async #corroborated(
    own: Judged<Evidence>,
    ask: Omit<VantageAsk, 'timeoutSeconds' | 'caaIdentities'>,
    signal: AbortSignal,
  ): Promise<Opinion> {
    const { points, caaIdentities } = this.#dependencies;
    if (!own.ok || !points.isOn) return { judged: own, perspectives: [], isShort: false };
    const { corroboration, perspectives } = await points.ask({ ...ask, caaIdentities }, signal);
    if (corroboration === 'corroborated') return { judged: own, perspectives, isShort: false };
    if (corroboration === 'contradicted')
      return { judged: contradiction(ask.challenge, perspectives), perspectives, isShort: false };
    const missing = perspectives
      .filter(({ result }) => result === 'absent')
      .map(({ name, code }) => `${name} is absent (${code})`);
    const { message, next, code } = points.tooFew(missing.join(', '));
    const judged = invalid('serverInternal', `${message}. ${next} [${code}]`);
    return { judged, perspectives, isShort: true };
  }
}

/** Says which place saw what. The type is that of the first one. */
function contradiction(
  challenge: VantageAsk['challenge'],
  perspectives: readonly Perspective[],
): Judged<Evidence> {
  const met = challenge === 'caa' ? 'CAA records allow it' : 'the challenge is met';
  const others = perspectives.filter(({ result }) => result === 'disagreed');
  const { message, next, code } = new PkiError(
    'ACME_VANTAGE_DISAGREES',
    `this CA sees that ${met}, and ${others.length} of ${perspectives.length} vantage ` +
      `agents do not: ${others.map(disagreementText).join('; ')}`,
  );
  const type = failureTypes.find((each) => each === others[0]?.code) ?? 'unauthorized';
  return invalid(type satisfies FailureType, `${message}. ${next} [${code}]`);
}

const disagreementText = ({ name, code, seenAt }: Perspective): string =>
  `${name} sees ${code}${seenAt.length === 0 ? '' : ` at ${seenAt.join(', ')}`}`;

/** One line a place, for records. */
export const perspectiveText = ({ name, result, code, seenAt }: Perspective): string =>
  [name, result, ...(code === '' ? [] : [code]), ...seenAt].join(' ');
