/** What is measured: each metric's name in tables, which direction is better, and how its rounds become one figure. */

export interface MetricInfo {
  readonly title: string
  readonly better: 'higher' | 'lower'
  /** Of all rounds: the median, for memory the worst, for errors all. */
  readonly fold: 'median' | 'highest' | 'sum'
}

export type MetricName =
  | 'rate'
  | 'asked'
  | 'answered'
  | 'cpu'
  | 'p50'
  | 'p99'
  | 'p999'
  | 'memory'
  | 'errors'
  | 'bytes'
  | 'cpuPerMib'
  | 'growth'
  | 'kibEach'
  | 'abort'
  | 'abortWorst'

export const metrics: Readonly<Record<MetricName, MetricInfo>> = {
  rate: { title: 'requests/s', better: 'higher', fold: 'median' },
  asked: { title: 'asked/s', better: 'higher', fold: 'median' },
  answered: { title: 'answered/s', better: 'higher', fold: 'median' },
  cpu: { title: 'CPU µs/request', better: 'lower', fold: 'median' },
  p50: { title: 'p50 ms', better: 'lower', fold: 'median' },
  p99: { title: 'p99 ms', better: 'lower', fold: 'median' },
  p999: { title: 'p99.9 ms', better: 'lower', fold: 'median' },
  memory: { title: 'MiB', better: 'lower', fold: 'median' },
  errors: { title: 'errors', better: 'lower', fold: 'sum' },
  bytes: { title: 'MiB/s', better: 'higher', fold: 'median' },
  cpuPerMib: { title: 'CPU µs/MiB', better: 'lower', fold: 'median' },
  growth: { title: 'memory grew MiB', better: 'lower', fold: 'highest' },
  kibEach: { title: 'KiB each', better: 'lower', fold: 'highest' },
  abort: { title: 'median ms', better: 'lower', fold: 'median' },
  abortWorst: { title: 'worst ms', better: 'lower', fold: 'highest' },
}
