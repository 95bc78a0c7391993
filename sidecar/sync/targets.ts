import { PkiError, type Result } from '../../src/common/errors/index.ts';
import { errorFields, type Logger } from '../../src/common/runtime/index.ts';
import type { ReportedTarget } from '../../src/common/wire/generated/meshca/issuer/v1/ReportedTarget.ts';
import type { TargetCommand__Output } from '../../src/common/wire/generated/meshca/issuer/v1/TargetCommand.ts';
import type { TargetReport } from '../../src/common/wire/generated/meshca/issuer/v1/TargetReport.ts';
import type { TargetResult } from '../../src/common/wire/generated/meshca/issuer/v1/TargetResult.ts';
import type { FileTargets, TargetStatus } from '../ports/file-targets.ts';
import { printable } from './printable.ts';

/** The server admits no more. */
const maximumTargets = 200;
const maximumSets = 20;
const maximumNames = 20;
/** Commands under way. */
const maximumCommands = 200;

interface Turn {
  readonly set: string;
  readonly part: string;
}

/**
 * The file targets of this agent towards the server: what it is told of them, and what it has done at
 * them. A command names a target; everything else is in the configuration of the agent. Owner of what
 * was told on this stream, and of the turns that this process got.
 */
export class TargetReports {
  readonly #targets: FileTargets;
  readonly #logger: Logger;
  /** By name, as it was told. */
  readonly #told = new Map<string, string>();
  readonly #turns = new Map<string, Turn>();
  #underWay = 0;
  #warned = false;

  constructor(targets: FileTargets, logger: Logger) {
    this.#targets = targets;
    this.#logger = logger;
  }

  /** All targets, for a new stream. */
  snapshot(): TargetReport {
    this.#told.clear();
    return { ...this.drain(), snapshot: true };
  }

  /** What changed since the last report. Undefined: nothing. */
  drain(): TargetReport | undefined {
    const listed = this.#listed();
    const targets: ReportedTarget[] = [];
    for (const status of listed) {
      const target = this.#toWire(status);
      const text = JSON.stringify(target);
      if (this.#told.get(status.name) === text) continue;
      this.#told.set(status.name, text);
      targets.push(target);
    }
    const names = new Set(listed.map(({ name }) => name));
    const removedNames = [...this.#told.keys()].filter((name) => !names.has(name));
    for (const name of removedNames) this.#told.delete(name);
    return targets.length + removedNames.length === 0
      ? undefined
      : { snapshot: false, targets, removedNames };
  }

  /** Never rejects: the refusal is in the result. */
  async carryOut(command: TargetCommand__Output): Promise<TargetResult> {
    const { commandId, target, act } = command;
    try {
      const result = await this.#act(command);
      this.#logger.info(
        { target, act, ...(result.ok ? {} : errorFields(result.error)) },
        'a command of the server to a file target',
      );
      return { commandId, ...(result.ok ? {} : refusal(result.error)) };
    } catch (thrown) {
      const error = PkiError.from(thrown);
      this.#logger.error({ target, act, ...errorFields(error) }, 'a command of the server failed');
      return { commandId, ...refusal(error) };
    }
  }

  async #act(command: TargetCommand__Output): Promise<Result<TargetStatus>> {
    const { target } = command;
    if (this.#underWay >= maximumCommands)
      throw new PkiError('OVERLOADED', `${maximumCommands} commands are under way on this node`);
    const status = this.#targets.list().find(({ name }) => name === target);
    if (status === undefined)
      throw new PkiError(
        'TARGET_UNKNOWN',
        `this agent has no file target ${JSON.stringify(target)}`,
      );
    this.#underWay += 1;
    try {
      return await this.#run(command, status);
    } finally {
      this.#underWay -= 1;
    }
  }

  async #run(
    { act, target, turn }: TargetCommand__Output,
    status: TargetStatus,
  ): Promise<Result<TargetStatus>> {
    switch (act) {
      case 'stage':
        return this.#targets.stage(target);
      case 'promote':
        return this.#targets.promote(target);
      case 'rollback':
        return this.#targets.rollback(target);
      case 'turn': {
        const staged = status.sets.at(-1)?.name;
        if (!turn || turn.set !== staged || status.waitsFor !== 'turn')
          throw new PkiError('CONFLICT', `the target ${target} waits for no turn of this set`);
        const granted = await this.#targets.grantTurn(target, turn.set);
        if (granted.ok) this.#turns.set(target, { set: turn.set, part: turn.part });
        return granted;
      }
      default:
        throw new PkiError(
          'NOT_IMPLEMENTED',
          `this agent does not know how to ${JSON.stringify(act.slice(0, 40))} a file target`,
        );
    }
  }

  #listed(): readonly TargetStatus[] {
    const all = this.#targets.list();
    if (all.length > maximumTargets && !this.#warned) {
      this.#warned = true;
      this.#logger.warn(
        { targets: all.length },
        `the server is told of the first ${maximumTargets} file targets alone`,
      );
    }
    return all.slice(0, maximumTargets);
  }

  #toWire(status: TargetStatus): ReportedTarget {
    const { name, driver, state, spiffeId, since, waitsFor, rollout } = status;
    const turn = this.#turns.get(name);
    return {
      ...{ name, driver, state, spiffeId, since },
      reason: printable(status.reason),
      next: printable(status.next),
      names: status.names.slice(0, maximumNames),
      sets: status.sets.slice(-maximumSets).map((set) => ({ ...set })),
      waitsFor: waitsFor === 'nothing' ? '' : waitsFor,
      ...(rollout === undefined ? {} : { rollout: { ...rollout } }),
      ...(turn === undefined ? {} : { turn }),
    };
  }
}

const refusal = ({ code, message, next }: PkiError) => ({
  code,
  message: printable(message),
  next: printable(next),
});
