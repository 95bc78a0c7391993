import { z } from 'zod';
import { keyTypes } from '../common/x509/key-type.ts';

// The types of values that many keys share.

export const seconds = (description: string) =>
  z.number().int().positive().describe(`${description} (seconds)`);
export const days = (description: string) =>
  z.number().int().positive().max(36_500).describe(`${description} (days)`);
export const count = (description: string, maximum = 1_000_000) =>
  z.number().int().positive().max(maximum).describe(description);
export const path = (description: string) => z.string().min(1).describe(description);
export const keyType = (description: string) => z.enum(keyTypes).describe(description);
export const port = (description: string) =>
  z.number().int().min(0).max(65_535).describe(description);
