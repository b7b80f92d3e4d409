import type { ErrorCode } from '../protocol/problems.ts';
import { counter, gauge, gauges, histogram, type MetricsOf, registerMetrics, total } from '../runtime/metrics.ts';

/** `unreadable`: its topic is right, and its payload is not. `time`: a question for the time, which is answered and not stored. */
type DeviceMessage = { kind: 'request' | 'acknowledgement' | 'registration' | 'unreadable' | 'time' };
type Reply = { status: 'accepted' | 'registered' | 'rejected' | 'pending'; error_code: ErrorCode | 'none' };
/** `forged`: no gateway signed it. `not_approved`: a gateway that the table has not approved did. */
type RequestOutcome =
  | 'vended'
  | 'repeated'
  | 'refused'
  | 'expired'
  | 'forged'
  | 'not_approved'
  | 'busy'
  | 'throttled'
  | 'failed';
type AwsCall = {
  operation: `iot:${string}` | `dynamodb:${string}` | `servicequotas:${string}`;
  /** `failed`: another error, or no answer. A condition that fails is a decision, and no failure */
  outcome: 'done' | 'condition_failed' | 'throttled' | 'unreachable' | 'refused' | 'failed';
};

/**
 * Every metric of the product: name, meaning and labels. Dashboards and alerts will name them, so a name stays.
 * To add one: a line here, and the call of `inc`, `observe` or `readFrom` in the part that knows.
 */
const definitions = {
  buildInfo: gauges<Record<'version' | 'revision' | 'node_version', string>>(
    'cvm_build_info',
    'Always 1. Its labels say which version runs.',
    { version: true, revision: true, node_version: true },
    'first',
  ),
  healthCheckOk: gauges<Record<'part' | 'check', string>>(
    'cvm_health_check_ok',
    'Each check of /readyz: 1 when it is well, 0 when it names a trouble.',
    { part: true, check: true },
    'min',
  ),

  connections: total('cvm_broker_connections_total', 'TCP connections that got a slot.'),
  connectionsOpen: gauge('cvm_broker_connections_open', 'TCP connections that are open.'),
  connectionsRefused: total('cvm_broker_connections_refused_total', 'TCP connections that got no slot.'),
  connectionsEvicted: total(
    'cvm_broker_connections_evicted_total',
    'Connections without a verified token that were closed to make room for another.',
  ),
  handshakesWaiting: gauge(
    'cvm_broker_handshakes_waiting',
    'Connections that wait for their turn at the TLS handshake.',
  ),
  handshakesFailed: counter('cvm_broker_handshakes_failed_total', 'TLS handshakes that failed or took too long.'),

  eventLoopDelay: gauge(
    'cvm_broker_event_loop_delay_seconds',
    'How late the event loop of this process came to its work, 99th percentile of the last ten seconds.',
    'max',
  ),
  certificateEnd: gauges<{ certificate: 'server' | 'ca' }>(
    'cvm_broker_certificate_expiry_timestamp_seconds',
    'When a certificate of the site ends: the server certificate, and the site CA that devices trust.',
    { certificate: true },
    'min',
  ),

  messagesReceived: counter<DeviceMessage>(
    'cvm_broker_messages_received_total',
    'Messages that devices published to a topic of theirs.',
    { kind: true },
  ),
  messagesStored: counter<DeviceMessage>(
    'cvm_broker_messages_stored_total',
    'Messages that were stored, or wait already, and got their PUBACK.',
    { kind: true },
  ),
  messagesRefused: counter<DeviceMessage & { error_code: ErrorCode }>(
    'cvm_broker_messages_refused_total',
    'Messages that the broker refused by itself.',
    { kind: true, error_code: true },
  ),
  replies: counter<Reply>('cvm_broker_replies_total', 'Replies to stored requests that were sent to devices.', {
    status: true,
    error_code: true,
  }),
  estimateError: histogram<Record<never, string>>(
    'cvm_broker_estimate_error_ratio',
    'How far the first wait that a device was told was from the wait that followed, as a part of the latter.',
    [0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5],
    {},
  ),

  lineLength: gauge('cvm_worker_line_length', 'Requests in the line that have waited for a second or so.'),
  lineOldestSeconds: gauge('cvm_worker_line_oldest_seconds', 'How long the first of the line has waited.', 'max'),
  sweepEnd: gauge(
    'cvm_worker_sweep_end_timestamp_seconds',
    'When this worker ended a sweep last; absent where it has ended none. Workers take turns.',
    'max',
  ),
  requests: counter<{ outcome: RequestOutcome }>(
    'cvm_worker_requests_total',
    'Requests that a worker took from the queue. busy, throttled and failed: it will try again.',
    { outcome: true },
  ),
  requestSeconds: histogram<{ outcome: 'vended' | 'repeated' | 'refused' }>(
    'cvm_worker_request_seconds',
    'Time from the receipt of a request at the broker to its decision by a worker.',
    [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200],
    { outcome: true },
  ),

  awsCallSeconds: histogram<AwsCall>(
    'cvm_aws_call_seconds',
    'Calls to AWS by operation and outcome, and how long they took.',
    [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    { operation: true, outcome: true },
  ),

  quotaWaitSeconds: histogram<{ waiter: 'device' | 'call' | 'task' }>(
    'cvm_aws_quota_wait_seconds',
    "Waits for the account's quotas: of a device for its turn, of a further call of its request, of a task such as the sweep.",
    [0.05, 0.25, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200],
    { waiter: true },
  ),
  devicesCameAlive: counter(
    'cvm_worker_devices_came_alive_total',
    'Devices that were found to have connected to AWS IoT Core with the certificate that they were given.',
  ),
  devicesSilent: gauge(
    'cvm_worker_devices_silent',
    'Devices of the table that have a certificate and have never connected to AWS IoT Core with it, as the last sweep found; the same number in every worker.',
  ),
  devicesPerSecond: gauge(
    'cvm_worker_devices_per_second',
    'Devices that this gateway lets through to AWS in a second, at present; 0 where nothing limits it.',
  ),
};

export type Metrics = MetricsOf<typeof definitions>;

/** Metrics of one process. A caller that does not publish them still has them: they cost less than a microsecond an event. */
export const createMetrics = () => registerMetrics(definitions);
