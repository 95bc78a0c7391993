import { z } from 'zod';

/** A key of settings that names a program with its arguments. */
export const argvKey = (description: string) =>
  z
    .array(z.string().max(4096))
    .min(1)
    .max(64)
    .refine(([program]) => program?.startsWith('/') === true, 'begin with an absolute path')
    .describe(`${description}: program by its absolute path, and arguments; no shell reads them`);
