import type { Drill } from './drill.ts';
export const hsmLoss: Drill = { name: 'hsm-loss', promise: '', options: [], run: () => Promise.resolve({ figures: {}, broken: ['x'] }) };
