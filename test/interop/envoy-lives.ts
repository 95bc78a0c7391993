/** Lives in which a renewal is soon, and a machine that stands still for seconds expires nothing. */
export const envoyLives = {
  issuance: {
    minimumTtlSeconds: 2,
    defaultTtlSeconds: 60,
    maximumTtlSeconds: 90,
    agentTtlSeconds: 90,
    serverTtlSeconds: 90,
    jwtMaximumTtlSeconds: 60,
    jwtDefaultTtlSeconds: 60,
    bundleRefreshHintSeconds: 1,
  },
  rotation: { marginSeconds: 90, retireMarginSeconds: 1, jwksCacheSeconds: 1 },
};
