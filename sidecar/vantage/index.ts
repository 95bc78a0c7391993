export { vantageSchema } from './vantage-schema.ts';
export {
  noVantagePoint,
  TaskedVantagePoint,
  type VantageDependencies,
  type VantagePoint,
  type VantageSettings,
} from './vantage-point.ts';
