// Package cloudevent makes tasks of CloudEvents that come by HTTP, by version 1.0.2 of the CloudEvents specification and its HTTP binding.
//
// An event in binary or structured mode is one request, and stays as it came: its mode, its body and its other headers. Its attributes are
// checked, and what they say about the task is put into the headers that dispatch and intake read: its id and source tell it apart from
// others, its source is its sender, and the extensions sluicedeadline and sluicepriority are its deadline and priority. A batch becomes one
// request in structured mode for each of its events, with the bytes that the event has in the batch, and one answer about all of them. A
// request that is no CloudEvent passes as it is.
//
// Attributes are checked by the CloudEvents SDK's own rules. Its readers of JSON and HTTP are not used: they decode the data, which is the
// application's, and those of HTTP bring a logger of their own. The package must not know revisions, queues or stores.
package cloudevent
