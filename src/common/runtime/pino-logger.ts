import { pino, stdSerializers } from 'pino';
import { PkiError } from '../errors/index.ts';
import type { Logger } from './logger.ts';

export interface LogOptions {
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'fatal';
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
export async function createLogger(options: LogOptions): Promise<Logger> {
  const base = {
    level: options.level,
    name: options.name,
    serializers: { ...stdSerializers, err: errorForLog },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: secretFields.flatMap((field) => [field, `*.${field}`]), censor: '[redacted]' },
  };
  const destination = options.destination ?? 1;
  if (options.format === 'json' || (options.format === 'auto' && !options.isTerminal))
    return pino(base, pino.destination({ dest: destination, sync: true })) as unknown as Logger;
  const { default: pretty } = await import('pino-pretty');
  return pino(
    base,
    pretty({
      destination,
      sync: true,
      colorize: options.isTerminal,
      translateTime: 'HH:MM:ss.l',
      ignore: 'pid,hostname,name',
    }),
  ) as unknown as Logger;
}
