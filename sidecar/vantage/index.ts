export { vantageSchema, type VantageConfig } from './vantage-schema.ts';
