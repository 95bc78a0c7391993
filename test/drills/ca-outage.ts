import type { Drill } from './drill.ts';
export const caOutage: Drill = { name: 'ca-outage', promise: '', options: [], run: () => Promise.resolve({ figures: {}, broken: ['x'] }) };
