/**
 * The metrics of one process, as they are told to another. What is in them is `observe`'s business.
 */
export type MetricValues = readonly object[];
