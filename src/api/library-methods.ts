import { callerClasses, type CallerClass } from '../services/callers/caller.ts';

const identified = ['agent', 'delegate', 'admin', 'local'] as const;

/** The callers of methods that libraries serve: health, and reflection of the contracts. */
export const libraryMethods: Readonly<Record<string, readonly CallerClass[]>> = {
  '/grpc.health.v1.Health/Check': callerClasses,
  '/grpc.health.v1.Health/List': callerClasses,
  '/grpc.health.v1.Health/Watch': callerClasses,
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo': identified,
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo': identified,
};
