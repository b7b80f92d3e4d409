/** How a run was at one moment: seconds from its start, and counts until then or at that moment. */
export type Moment = {
  readonly at: number;
  readonly accepted: number;
  readonly refused: number;
  readonly waiting: number;
  readonly open: number;
  /** of the gateway's processes, where they are watched: CPU since the start, memory now */
  readonly gatewayCpuMs?: number;
  readonly gatewayRssBytes?: number;
};

const mostMoments = 600;

/** Keeps a bounded number of moments at even distances, however long the run is. */
export function createSeries() {
  let everySeconds = 1;
  let moments: Moment[] = [];
  return {
    /** @returns whether a moment at this time would be kept */
    wants: (at: number): boolean => moments.length === 0 || at - (moments.at(-1) as Moment).at >= everySeconds * 0.99,
    add(moment: Moment): void {
      moments.push(moment);
      if (moments.length < mostMoments) return;
      moments = moments.filter((_each, index) => index % 2 === 0);
      everySeconds *= 2;
    },
    moments: (): readonly Moment[] => moments,
  };
}
