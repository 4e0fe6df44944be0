{{/* The Corefile: lines of extraConfig, then a block for each server. */}}
{{- define "clusterdns.corefile" -}}
{{- range $word, $line := .Values.extraConfig }}
{{ $word }}{{ with $line }}{{ with .parameters }} {{ . }}{{ end }}{{ end }}
{{- end }}
{{- range .Values.servers }}
{{ include "clusterdns.zones" . }} {
    {{- range .plugins }}
    {{ .name }}{{ if not (kindIs "invalid" .parameters) }} {{ .parameters }}{{ end }}
    {{- $block := .configBlock | default "" | trim }}
    {{- if and $.Values.fastlane.kernel (has .name (list "kubernetes" "clusterdns")) (not (regexMatch "(?m)^\\s*fastlane\\s+(off|kernel)\\b" $block)) }}
    {{- $block = printf "%s\nfastlane kernel" $block | trim }}
    {{- end }}
    {{- with $block }} {
        {{- . | nindent 8 }}
    }
    {{- end }}
    {{- end }}
}
{{- end }}
{{- end }}

{{/* The keys of one server's block, each with its scheme and port. */}}
{{- define "clusterdns.zones" -}}
{{- $port := .port }}
{{- $keys := list }}
{{- range .zones | default (list (dict)) }}
{{- $keys = append $keys (printf "%s%s%s" (.scheme | default "") (.zone | default ".") (ternary (printf ":%v" $port) "" (not (kindIs "invalid" $port)))) }}
{{- end }}
{{- $keys | join " " }}
{{- end }}

{{/*
The ports of all servers, as a YAML map from names like udp-53 to port, protocol
and what a server says of them. A zone with TLS, gRPC or HTTPS listens on TCP; with
QUIC or HTTP/3 on UDP; another on UDP, and on TCP with use_tcp. Where use_tcp is
missing, TCP is left out for Services that a cloud may not let have both.
*/}}
{{- define "clusterdns.ports" -}}
{{- $ports := dict }}
{{- $both := eq .Values.serviceType "ClusterIP" }}
{{- range $server := .Values.servers }}
{{- $number := $server.port | default 53 | int }}
{{- range $zone := $server.zones | default (list (dict)) }}
{{- $scheme := $zone.scheme | default "dns://" }}
{{- $protocols := list }}
{{- if has $scheme (list "tls://" "grpc://" "https://") }}
{{- $protocols = list "TCP" }}
{{- else if has $scheme (list "quic://" "https3://") }}
{{- $protocols = list "UDP" }}
{{- else if hasKey $zone "use_tcp" | ternary $zone.use_tcp $both }}
{{- $protocols = list "UDP" "TCP" }}
{{- else }}
{{- $protocols = list "UDP" }}
{{- end }}
{{- range $protocol := $protocols }}
{{- $name := printf "%s-%d" (lower $protocol) $number }}
{{- $port := get $ports $name | default (dict "port" $number "protocol" $protocol) }}
{{- range $key := list "servicePort" "nodePort" "hostPort" }}
{{- with get $server $key }}{{ $_ := set $port $key (int .) }}{{ end }}
{{- end }}
{{- $_ := set $ports $name $port }}
{{- end }}
{{- end }}
{{- end }}
{{ toYaml $ports }}
{{- end }}
