import type { Clock, Logger } from '../../src/common/runtime/index.ts';
import { errorFields, oneLine, TokenBucket } from '../../src/common/runtime/index.ts';
import type { ValidatorSettings } from '../../src/common/validation/create-validator.ts';
import type { Evidence, Judged } from '../../src/common/validation/outcome.ts';
import type { ChallengeValidator } from '../../src/common/validation/validator.ts';
import type { VantageResult } from '../../src/common/wire/generated/meshca/issuer/v1/VantageResult.ts';
import type { VantageTask__Output } from '../../src/common/wire/generated/meshca/issuer/v1/VantageTask.ts';
import { readTask, type ReadTask } from './task.ts';

/** The part of an agent that repeats validations of ACME for the server. */
export interface VantagePoint {
  /** Whether the operator of this node has switched it on. */
  readonly enabled: boolean;
  /** Never rejects. After an abort the result is of no use. */
  carryOut(task: VantageTask__Output, signal: AbortSignal): Promise<VantageResult>;
}

/** `vantage` of the configuration. */
export interface VantageSettings extends Omit<ValidatorSettings, 'caaIdentities'> {
  /** Tasks at a time. */
  readonly concurrent: number;
  /** Tasks that are begun a second, on average. */
  readonly perSecond: number;
}

export interface VantageDependencies {
  readonly config: VantageSettings;
  /** Validates by these settings, whose networks, ports and resolvers are those of this agent. */
  readonly validatorOf: (settings: ValidatorSettings) => ChallengeValidator;
  /** Called with the result of each task. */
  readonly onResult: (result: string) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** An agent that was not asked to be one: it does nothing, whatever the server sends. */
export const noVantagePoint = (logger: Logger): VantagePoint => ({
  enabled: false,
  carryOut({ taskId }) {
    logger.warn(
      {},
      'the server sent a validation, and vantage.enabled is off: nothing was dialled',
    );
    return Promise.resolve(absent(taskId, 'refused'));
  },
});

const maximumSeenAt = 8;
const burstSeconds = 5;

/**
 * Repeats validations within what its own configuration allows. The server decides the name and the
 * challenge, and nothing else: networks, ports, resolvers and time are those of this agent. Owner of
 * the number of tasks under way.
 */
export class TaskedVantagePoint implements VantagePoint {
  readonly enabled = true;
  readonly #dependencies: VantageDependencies;
  readonly #rate: TokenBucket;
  #underWay = 0;

  constructor(dependencies: VantageDependencies) {
    this.#dependencies = dependencies;
    const { config, clock } = dependencies;
    const { perSecond } = config;
    this.#rate = new TokenBucket({ perSecond, burst: perSecond * burstSeconds }, clock);
  }

  async carryOut(task: VantageTask__Output, signal: AbortSignal): Promise<VantageResult> {
    const { config, logger, onResult } = this.#dependencies;
    const taskId = task.taskId.slice(0, 64);
    const read = readTask(task);
    let result: VantageResult;
    if (!read.ok) {
      logger.warn({ ...errorFields(read.error) }, 'a validation of the server was refused');
      result = absent(taskId, 'refused');
    } else if (this.#underWay >= config.concurrent || this.#rate.take() > 0) {
      result = absent(taskId, 'overloaded');
    } else result = await this.#validated(taskId, read.value, signal);
    onResult(result.result ?? 'absent');
    return result;
  }

  async #validated(taskId: string, task: ReadTask, signal: AbortSignal): Promise<VantageResult> {
    const { logger } = this.#dependencies;
    const { what } = task;
    const name = what.kind === 'caa' ? what.ask.name : what.ask.identifier.value;
    const challenge = what.kind === 'caa' ? what.kind : what.ask.type;
    this.#underWay += 1;
    try {
      const judged = await this.#judge(task, signal);
      if (judged?.ok === false && judged.failure.forbiddenHere === true)
        logger.warn(
          { name, challenge, why: judged.failure.detail },
          'the configuration of this agent forbids a validation that the server asks for',
        );
      const result = judged === undefined ? absent(taskId, 'refused') : resultOf(taskId, judged);
      const { code, seenAt } = result;
      const { taskId: _, ...told } = { ...result, code, seenAt };
      logger.info({ name, challenge, ...told }, 'a validation was repeated for the server');
      return result;
    } catch (thrown) {
      logger.error({ name, challenge, ...errorFields(thrown) }, 'a validation failed');
      return absent(taskId, 'refused');
    } finally {
      this.#underWay -= 1;
    }
  }

  /** Undefined: this agent can not look. That says nothing of the name. */
  #judge(
    { what, caaIdentities, timeoutSeconds }: ReadTask,
    signal: AbortSignal,
  ): Promise<Judged<Evidence>> | undefined {
    const { config, validatorOf } = this.#dependencies;
    const isName = what.kind === 'caa' || what.ask.identifier.type === 'dns';
    if (isName && config.resolvers.length === 0) return undefined;
    const validator = validatorOf({
      ...config,
      caaIdentities,
      timeoutSeconds: Math.min(config.timeoutSeconds, timeoutSeconds),
    });
    return what.kind === 'caa'
      ? validator.caa(what.ask, signal)
      : validator.validate(what.ask, signal);
  }
}

const absent = (taskId: string, code: 'refused' | 'overloaded'): VantageResult => ({
  ...{ taskId, result: 'absent', code, seenAt: [] },
});

/** The detail of a failure stays here: the server is told its type. */
function resultOf(taskId: string, judged: Judged<Evidence>): VantageResult {
  // an agent that may not look contradicts nobody
  if (!judged.ok && judged.failure.forbiddenHere === true) return absent(taskId, 'refused');
  return {
    taskId,
    result: judged.ok ? 'agreed' : 'disagreed',
    code: judged.ok ? '' : judged.failure.type,
    seenAt: (judged.ok ? judged.value : judged.failure).seenAt
      .slice(0, maximumSeenAt)
      .map((each) => oneLine(each).slice(0, 256)),
  };
}
