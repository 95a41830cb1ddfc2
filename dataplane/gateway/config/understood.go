package config

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// fields are the fields of a message that the gateway accepts.
type fields struct {
	used    string // the gateway does what they say
	ignored string // the gateway does nothing with them, and no response depends on them (logs, statistics, tuning)
}

// hcm begins the names of the messages of the HTTP connection manager.
const hcm = "envoy.extensions.filters.network.http_connection_manager.v3."

// understood is all that the gateway accepts. It refuses a resource with a message that is not here, or with a field in neither list,
// because it would serve requests wrongly if it dropped a feature silently. Messages of google.protobuf (durations, wrappers) need no
// entry.
var understood = map[protoreflect.FullName]fields{
	"envoy.config.listener.v3.Listener": {
		"name address filter_chains default_filter_chain listener_filters",
		"stat_prefix access_log per_connection_buffer_limit_bytes metadata drain_type listener_filters_timeout " +
			"continue_on_listener_filters_timeout tcp_fast_open_queue_length traffic_direction connection_balance_config " +
			"enable_reuse_port reuse_port tcp_backlog_size max_connections_to_accept_per_socket_event " +
			"ignore_global_conn_limit bypass_overload_manager",
	},
	"envoy.config.listener.v3.FilterChain": {
		"filter_chain_match filters transport_socket",
		"name metadata transport_socket_connect_timeout",
	},
	"envoy.config.listener.v3.FilterChainMatch":   {"server_names", "transport_protocol"},
	"envoy.config.listener.v3.Filter":             {"name typed_config", ""},
	"envoy.config.listener.v3.ListenerFilter":     {"name typed_config", ""},
	"envoy.config.core.v3.Address":                {"socket_address", ""},
	"envoy.config.core.v3.SocketAddress":          {"address port_value protocol", "ipv4_compat"},
	"envoy.config.core.v3.TransportSocket":        {"typed_config", "name"},
	"envoy.config.core.v3.DataSource":             {"inline_bytes inline_string", ""},
	"envoy.config.core.v3.ConfigSource":           {"ads self", "initial_fetch_timeout resource_api_version"},
	"envoy.config.core.v3.AggregatedConfigSource": {"", ""},
	"envoy.config.core.v3.SelfConfigSource":       {"", "transport_api_version"},
	"envoy.config.core.v3.Locality":               {"region zone sub_zone", ""},

	hcm + "HttpConnectionManager": {
		"stat_prefix rds scoped_routes route_config http_filters common_http_protocol_options http2_protocol_options " +
			"max_request_headers_kb stream_idle_timeout request_headers_timeout use_remote_address skip_xff_append xff_num_trusted_hops " +
			"generate_request_id preserve_external_request_id always_set_request_id_in_response upgrade_configs " +
			"normalize_path merge_slashes path_with_escaped_slashes_action request_timeout strip_matching_host_port " +
			"strip_any_host_port strip_trailing_host_dot tracing",
		"codec_type access_log access_log_options access_log_flush_interval flush_access_log_on_new_request " +
			"http_protocol_options server_name server_header_transformation drain_timeout drain_timeout_jitter delayed_close_timeout " +
			"internal_address_config via add_user_agent stream_error_on_invalid_http_message " +
			"http1_safe_max_connection_duration stream_flush_timeout proxy_100_continue",
	},
	hcm + "HttpConnectionManager.UpgradeConfig": {"upgrade_type enabled", ""},
	hcm + "HttpConnectionManager.Tracing": {
		"provider",
		"client_sampling random_sampling overall_sampling verbose max_path_tag_length custom_tags spawn_upstream_span operation " +
			"upstream_operation no_context_propagation",
	},
	"envoy.config.trace.v3.Tracing.Http":                 {"typed_config", "name"},
	hcm + "HttpFilter":                                   {"name typed_config is_optional", ""},
	hcm + "Rds":                                          {"config_source route_config_name", ""},
	hcm + "ScopedRoutes":                                 {"scope_key_builder scoped_rds", "name rds_config_source"},
	hcm + "ScopedRds":                                    {"scoped_rds_config_source", ""},
	hcm + "ScopedRoutes.ScopeKeyBuilder":                 {"fragments", ""},
	hcm + "ScopedRoutes.ScopeKeyBuilder.FragmentBuilder": {"header_value_extractor", ""},
	hcm + "ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor": {"name element_separator index", ""},
	"envoy.extensions.filters.http.router.v3.Router": {
		"", "dynamic_stats start_child_span upstream_log upstream_log_options suppress_envoy_headers " +
			"suppress_grpc_request_failure_code_stats respect_expected_rq_timeout",
	},
	"envoy.config.core.v3.HttpProtocolOptions": {
		"idle_timeout max_headers_count max_stream_duration",
		"max_connection_duration max_connection_duration_jitter max_response_headers_kb max_requests_per_connection " +
			"headers_with_underscores_action",
	},
	"envoy.config.core.v3.Http2ProtocolOptions": {
		"max_concurrent_streams",
		"hpack_table_size initial_stream_window_size initial_connection_window_size max_outbound_frames max_outbound_control_frames " +
			"max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream " +
			"max_inbound_window_update_frames_per_data_frame_sent stream_error_on_invalid_http_messaging " +
			"override_stream_error_on_invalid_http_message connection_keepalive use_oghttp2_codec allow_connect",
	},
	"envoy.config.core.v3.Http1ProtocolOptions": {
		"", "allow_absolute_url accept_http_10 enable_trailers allow_chunked_length " +
			"override_stream_error_on_invalid_http_message use_balsa_parser ignore_http_11_upgrade",
	},

	"envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext": {
		"common_tls_context require_client_certificate",
		"disable_stateless_session_resumption disable_stateful_session_resumption session_timeout " +
			"ocsp_staple_policy full_scan_certs_on_sni_mismatch prefer_client_ciphers",
	},
	"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext": {
		"tls_params tls_certificates tls_certificate_sds_secret_configs alpn_protocols", "",
	},
	"envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig": {"name sds_config", ""},
	"envoy.extensions.transport_sockets.tls.v3.Secret":          {"name tls_certificate", ""},
	"envoy.extensions.transport_sockets.tls.v3.TlsCertificate":  {"certificate_chain private_key", ""},
	"envoy.extensions.transport_sockets.tls.v3.TlsParameters": {
		"tls_minimum_protocol_version tls_maximum_protocol_version", "cipher_suites ecdh_curves",
	},
	"envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer":        {"", ""},
	"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector":   {"", "enable_ja3_fingerprinting initial_read_buffer_size"},
	"envoy.extensions.filters.listener.http_inspector.v3.HttpInspector": {"", ""},

	"envoy.config.route.v3.RouteConfiguration": {
		"name virtual_hosts request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove " +
			"most_specific_header_mutations_wins ignore_port_in_host_matching typed_per_filter_config",
		"validate_clusters max_direct_response_body_size_bytes metadata",
	},
	"envoy.config.route.v3.FilterConfig":                          {"disabled is_optional", ""},
	"envoy.config.route.v3.ScopedRouteConfiguration":              {"name key route_configuration_name route_configuration", ""},
	"envoy.config.route.v3.ScopedRouteConfiguration.Key":          {"fragments", ""},
	"envoy.config.route.v3.ScopedRouteConfiguration.Key.Fragment": {"string_key", ""},
	"envoy.config.route.v3.VirtualHost": {
		"name domains routes request_headers_to_add request_headers_to_remove response_headers_to_add " +
			"response_headers_to_remove retry_policy",
		"virtual_clusters include_request_attempt_count include_attempt_count_in_response include_is_timeout_retry_header " +
			"per_request_buffer_limit_bytes request_body_buffer_limit metadata",
	},
	"envoy.config.route.v3.Route": {
		"match route redirect direct_response request_headers_to_add request_headers_to_remove response_headers_to_add " +
			"response_headers_to_remove",
		"name metadata decorator tracing per_request_buffer_limit_bytes request_body_buffer_limit stat_prefix",
	},
	"envoy.config.route.v3.RouteMatch": {
		"prefix path safe_regex path_separated_prefix case_sensitive headers grpc", "",
	},
	"envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions": {"", ""},
	"envoy.config.route.v3.HeaderMatcher": {
		"name exact_match safe_regex_match present_match prefix_match suffix_match contains_match string_match invert_match " +
			"treat_missing_header_as_empty", "",
	},
	"envoy.type.matcher.v3.StringMatcher":          {"exact prefix suffix safe_regex contains ignore_case", ""},
	"envoy.type.matcher.v3.RegexMatcher":           {"regex", "google_re2"},
	"envoy.type.matcher.v3.RegexMatcher.GoogleRE2": {"", "max_program_size"},
	"envoy.config.route.v3.RouteAction": {
		"cluster weighted_clusters cluster_not_found_response_code prefix_rewrite host_rewrite_literal append_x_forwarded_host timeout " +
			"idle_timeout retry_policy upgrade_configs max_stream_duration",
		"early_data_policy priority include_vh_rate_limits hash_policy flush_timeout max_grpc_timeout grpc_timeout_offset",
	},
	"envoy.config.route.v3.RouteAction.UpgradeConfig":     {"upgrade_type enabled", ""},
	"envoy.config.route.v3.RouteAction.MaxStreamDuration": {"max_stream_duration", "grpc_timeout_header_max grpc_timeout_header_offset"},
	"envoy.config.route.v3.WeightedCluster":               {"clusters total_weight", "runtime_key_prefix"},
	"envoy.config.route.v3.WeightedCluster.ClusterWeight": {
		"name weight request_headers_to_add request_headers_to_remove response_headers_to_add " +
			"response_headers_to_remove host_rewrite_literal", "",
	},
	"envoy.config.route.v3.RetryPolicy": {
		"retry_on num_retries retriable_headers per_try_timeout",
		"per_try_idle_timeout retry_priority retry_host_predicate host_selection_retry_max_attempts retry_back_off " +
			"rate_limited_retry_back_off",
	},
	"envoy.config.route.v3.RedirectAction": {
		"https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite response_code strip_query", "",
	},
	"envoy.config.route.v3.DirectResponseAction": {"status body", ""},
	"envoy.config.core.v3.HeaderValueOption":     {"header append append_action keep_empty_value", ""},
	"envoy.config.core.v3.HeaderValue":           {"key value raw_value", ""},

	"envoy.config.cluster.v3.Cluster": {
		"name type eds_cluster_config connect_timeout lb_policy load_assignment http2_protocol_options typed_extension_protocol_options " +
			"transport_socket outlier_detection",
		"alt_stat_name per_connection_buffer_limit_bytes circuit_breakers common_http_protocol_options http_protocol_options " +
			"upstream_http_protocol_options wait_for_warm_on_init least_request_lb_config round_robin_lb_config " +
			"common_lb_config metadata upstream_connection_options close_connections_on_host_health_failure " +
			"ignore_health_on_host_removal lrs_server lrs_report_endpoint_metrics track_timeout_budgets track_cluster_stats " +
			"preconnect_policy max_requests_per_connection cleanup_interval dns_lookup_family",
	},
	"envoy.config.cluster.v3.OutlierDetection": {
		"consecutive_local_origin_failure enforcing_consecutive_local_origin_failure split_external_local_origin_errors base_ejection_time",
		"interval max_ejection_time max_ejection_time_jitter max_ejection_percent consecutive_5xx enforcing_consecutive_5xx " +
			"consecutive_gateway_failure enforcing_consecutive_gateway_failure enforcing_success_rate success_rate_minimum_hosts " +
			"success_rate_request_volume success_rate_stdev_factor enforcing_local_origin_success_rate failure_percentage_threshold " +
			"enforcing_failure_percentage enforcing_failure_percentage_local_origin failure_percentage_minimum_hosts " +
			"failure_percentage_request_volume successful_active_health_check_uneject_host always_eject_one_host",
	},
	"envoy.config.cluster.v3.Cluster.EdsClusterConfig": {"eds_config service_name", ""},
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
		"explicit_http_config use_downstream_protocol_config common_http_protocol_options", "upstream_http_protocol_options",
	},
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig":      {"http2_protocol_options", "http_protocol_options"},
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig": {"http2_protocol_options", "http_protocol_options"},

	"envoy.config.endpoint.v3.ClusterLoadAssignment":        {"cluster_name endpoints policy", ""},
	"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy": {"", "overprovisioning_factor endpoint_stale_after weighted_priority_health"},
	"envoy.config.endpoint.v3.LocalityLbEndpoints":          {"locality lb_endpoints load_balancing_weight priority", "metadata proximity"},
	"envoy.config.endpoint.v3.LbEndpoint":                   {"endpoint health_status load_balancing_weight", "metadata"},
	"envoy.config.endpoint.v3.Endpoint":                     {"address", "hostname health_check_config observability_name"},
}

// knownFields is understood by message and field: true for a field that is used, false for one that is ignored.
var knownFields = sync.OnceValue(func() map[protoreflect.FullName]map[protoreflect.Name]bool {
	known := make(map[protoreflect.FullName]map[protoreflect.Name]bool, len(understood))
	for message, f := range understood {
		names := map[protoreflect.Name]bool{}
		for _, name := range strings.Fields(f.used) {
			names[protoreflect.Name(name)] = true
		}
		for _, name := range strings.Fields(f.ignored) {
			names[protoreflect.Name(name)] = false
		}
		known[message] = names
	}
	return known
})

// fieldError says what is wrong with one field of a resource. Each caller of at puts a field in front of the path.
type fieldError struct {
	path   string
	reason error
}

func (e *fieldError) Error() string {
	if e.path == "" {
		return e.reason.Error()
	}
	return e.path + ": " + e.reason.Error()
}

func (e *fieldError) Unwrap() error { return e.reason }

// at puts a field in front of the path of an error; it returns nil for nil.
func at(field string, err error) error {
	if err == nil {
		return nil
	}
	var inner *fieldError
	if !errors.As(err, &inner) {
		return &fieldError{field, err}
	}
	if inner.path == "" {
		return &fieldError{field, inner.reason}
	}
	return &fieldError{field + "." + inner.path, inner.reason}
}

// atIndex is at for an element of a repeated field.
func atIndex(field string, i int, err error) error {
	if err == nil {
		return nil
	}
	return at(field+"["+strconv.Itoa(i)+"]", err)
}

var errUnsupported = errors.New("not supported by the built-in gateway")

// checkUnderstood refuses a message with a field that the gateway does not know. It does not look inside an Any: unpack does.
func checkUnderstood(m protoreflect.Message) error {
	known, ok := knownFields()[m.Descriptor().FullName()]
	if !ok {
		return fmt.Errorf("%s is %w", m.Descriptor().FullName(), errUnsupported)
	}
	if len(m.GetUnknown()) > 0 {
		return fmt.Errorf("%s has a field that is not in the API: %w", m.Descriptor().FullName(), errUnsupported)
	}
	var err error
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		used, ok := known[fd.Name()]
		switch {
		case !ok:
			err = at(string(fd.Name()), errUnsupported)
		case used && descends(fd):
			err = checkField(fd, v)
		}
		return err == nil
	})
	return err
}

// descends is whether a field holds messages of Envoy's API.
func descends(fd protoreflect.FieldDescriptor) bool {
	return fd.Message() != nil && !fd.IsMap() && !strings.HasPrefix(string(fd.Message().FullName()), "google.protobuf.")
}

func checkField(fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	if !fd.IsList() {
		return at(string(fd.Name()), checkUnderstood(v.Message()))
	}
	for i := range v.List().Len() {
		if err := checkUnderstood(v.List().Get(i).Message()); err != nil {
			return atIndex(string(fd.Name()), i, err)
		}
	}
	return nil
}

// validated is a message with the checks that the API generates from its constraints.
type validated interface {
	proto.Message
	Validate() error
}

// decode unmarshals and checks one message.
func decode[T validated](body []byte, into T) (T, error) {
	if err := proto.Unmarshal(body, into); err != nil {
		return into, fmt.Errorf("not a %s: %w", into.ProtoReflect().Descriptor().FullName(), err)
	}
	if err := checkUnderstood(into.ProtoReflect()); err != nil {
		return into, err
	}
	return into, into.Validate()
}

// decodeNamed decodes a resource, whose message must have its name.
func decodeNamed[T interface {
	validated
	GetName() string
}](name string, body []byte, into T) (T, error) {
	m, err := decode(body, into)
	if err == nil && m.GetName() != name {
		err = at("name", fmt.Errorf("is %q; it must be the name of the resource", m.GetName()))
	}
	return m, err
}

// unpack decodes an Any that must hold a T.
func unpack[T validated](any *anypb.Any, into T) (T, error) {
	want := into.ProtoReflect().Descriptor().FullName()
	if any == nil {
		return into, fmt.Errorf("typed_config is missing; it must be a %s", want)
	}
	if any.MessageName() != want {
		return into, fmt.Errorf("%s is %w; it must be a %s", any.MessageName(), errUnsupported, want)
	}
	return decode(any.GetValue(), into)
}
