import { oneLine } from '../../../common/runtime/index.ts';
import { failureTypes } from '../../../common/validation/index.ts';
import {
  perspectiveResults,
  type ChallengeType,
  type OrderIdentifier,
  type Perspective,
} from '../../../domain/index.ts';

/** What an agent is asked to look at. */
export interface VantageAsk {
  /** `caa`: the CAA records alone. */
  readonly challenge: ChallengeType | 'caa';
  /** Without `*.`. */
  readonly identifier: OrderIdentifier;
  readonly wildcard: boolean;
  /** Empty with `caa`, as is the next. */
  readonly token: string;
  readonly keyAuthorization: string;
  readonly accountUri: string;
  /** With `caa`: the validation method (RFC 8657). Otherwise empty. */
  readonly caaMethod: string;
  readonly caaIdentities: readonly string[];
  readonly timeoutSeconds: number;
}

export interface VantageTask extends VantageAsk {
  /** Base64url of 16 random bytes. */
  readonly taskId: string;
}

/** What an agent says of a task, with nothing believed of it. */
export interface StatedResult {
  readonly taskId: string;
  readonly result: string;
  readonly code: string;
  readonly seenAt: readonly string[];
}

export type VantageAnswer = Omit<Perspective, 'name'>;

/** Nobody has looked. That says nothing of the name. */
export const absent = (code: string): VantageAnswer => ({ result: 'absent', code, seenAt: [] });

const maximumSeenAt = 8;
const maximumLength = 256;
const reasonsOfAgents: readonly string[] = ['refused', 'overloaded'];

/** The answer of an agent, as far as it has the form of one. Otherwise the agent is absent. */
export function readAnswer({ result: stated, code, seenAt }: StatedResult): VantageAnswer {
  const result = perspectiveResults.find((each) => each === stated);
  if (result === undefined) return absent('malformed');
  if (result === 'absent') return absent(reasonsOfAgents.includes(code) ? code : 'malformed');
  if (result === 'disagreed' && !failureTypes.some((type) => type === code))
    return absent('malformed');
  return {
    result,
    code: result === 'agreed' ? '' : code,
    seenAt: seenAt
      .slice(0, maximumSeenAt)
      .map((each) => oneLine(each).slice(0, maximumLength).toWellFormed()),
  };
}
