import { done, row, type AdviceRow } from './row.ts';
import type { targetCodes } from '../../../src/common/errors/codes/targets.ts';

const file = 'integration/services/targets/targets.test.ts';

export const targetAdvice = {
  TARGET_UNKNOWN: row(
    'an operator names a target that its agent does not report',
    [file, 'an operator stages, promotes and rolls back a target of an agent, on record'],
    done('takes a name from "meshca set list"', 'the agent is told, and its answer is shown'),
  ),
  AGENT_NOT_CONNECTED: row(
    'an operator promotes a target of an agent that is away',
    [file, 'an agent that is away or goes away is named, and a command works once it is back'],
    done('waits until the agent is connected again', 'the command is carried out'),
  ),
} as const satisfies Record<keyof typeof targetCodes, AdviceRow>;
