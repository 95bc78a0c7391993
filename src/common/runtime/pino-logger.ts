import { pino, stdSerializers } from 'pino';
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

/** Names of fields that could carry a secret are masked wherever they stand, as the last fence: nobody logs them on purpose. */
const secretFields = ['pin', 'token', 'privateKey', 'keyPem', 'secret', 'password', 'authorization'];

/** Imported on its own path, since it brings pino. JSON lines, or readable ones on a terminal. */
export async function createLogger(options: LogOptions): Promise<Logger> {
  const base = {
    level: options.level, name: options.name, serializers: stdSerializers, timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: secretFields.flatMap((field) => [field, `*.${field}`]), censor: '[redacted]' },
  };
  const destination = options.destination ?? 1;
  if (options.format === 'json' || (options.format === 'auto' && !options.isTerminal)) return pino(base, pino.destination({ dest: destination, sync: true })) as unknown as Logger;
  const { default: pretty } = await import('pino-pretty');
  return pino(base, pretty({ destination, sync: true, colorize: options.isTerminal, translateTime: 'HH:MM:ss.l', ignore: 'pid,hostname,name' })) as unknown as Logger;
}
