import { pino, stdSerializers, type DestinationStream } from 'pino';
import { PkiError } from '../errors/index.ts';
import { levelled, type LevelledLogger, type Logger, type LogLevel } from './logger.ts';

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: 'auto' | 'json' | 'pretty';
  readonly name: string;
  /** Whether the stream is a terminal: decides for `auto`. */
  readonly isTerminal: boolean;
  /** File descriptor; 1 is standard output. */
  readonly destination?: number;
}

/**
 * Masks fields whose names suggest a secret, at any depth. This is the last defence; no code logs
 * them on purpose.
 */
const secretFields = [
  'pin',
  'token',
  'privateKey',
  'keyPem',
  'secret',
  'password',
  'authorization',
];

/**
 * Keeps the stack of a fault (INTERNAL, or no PkiError at all). For a refusal or an outage the code
 * and message suffice.
 */
const errorForLog = (thrown: Error): object =>
  thrown instanceof PkiError && thrown.code !== 'INTERNAL'
    ? {
        code: thrown.code,
        message: thrown.message,
        next: thrown.next,
        ...(thrown.cause instanceof Error && thrown.cause.message !== thrown.message
          ? { cause: thrown.cause.message }
          : {}),
      }
    : stdSerializers.err(thrown);

/**
 * Makes a logger of JSON lines, or readable lines on a terminal. Imported on its own path, since it
 * loads pino.
 */
export async function createLogger(options: LogOptions): Promise<LevelledLogger> {
  const base = {
    level: 'debug',
    name: options.name,
    serializers: { ...stdSerializers, err: errorForLog },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: secretFields.flatMap((field) => [field, `*.${field}`]), censor: '[redacted]' },
  };
  const destination = options.destination ?? 1;
  const json = options.format === 'json' || (options.format === 'auto' && !options.isTerminal);
  const stream = json
    ? pino.destination({ dest: destination, sync: true })
    : await readable(destination, options.isTerminal);
  return levelled(pino(base, stream) as unknown as Logger, options.level);
}

async function readable(destination: number, colorize: boolean): Promise<DestinationStream> {
  const { default: pretty } = await import('pino-pretty');
  return pretty({
    destination,
    sync: true,
    colorize,
    translateTime: 'HH:MM:ss.l',
    ignore: 'pid,hostname,name',
  });
}
