{{/* Names, and the labels that objects have and are selected by. */}}

{{- define "clusterdns.name" -}}
{{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "clusterdns.fullname" -}}
{{- $name := include "clusterdns.name" . -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{ .Values.fullnameOverride | default $full | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "clusterdns.deploymentName" -}}
{{ .Values.deployment.name | default (include "clusterdns.fullname" .) }}
{{- end }}

{{- define "clusterdns.serviceAccountName" -}}
{{ .Values.serviceAccount.name | default (ternary (include "clusterdns.fullname" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "clusterdns.clusterRoleName" -}}
{{ .Values.clusterRole.nameOverride | default (include "clusterdns.fullname" .) }}
{{- end }}

{{- define "clusterdns.selectorLabels" -}}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/name: {{ include "clusterdns.name" . | quote }}
{{- if .Values.isClusterService }}
k8s-app: {{ .Values.k8sAppLabelOverride | default (include "clusterdns.name" .) | quote }}
{{- end }}
{{- end }}

{{- define "clusterdns.labels" -}}
{{ include "clusterdns.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | quote }}
{{- if .Values.isClusterService }}
kubernetes.io/cluster-service: "true"
kubernetes.io/name: CoreDNS
{{- end }}
{{- with .Values.customLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* An image's reference: a tag may be a digest. */}}
{{- define "clusterdns.image" -}}
{{ .repository }}{{ ternary "@" ":" (hasPrefix "sha256:" .tag) }}{{ .tag }}
{{- end }}

{{/* Annotations of the maps in the list, under the word annotations, or nothing. */}}
{{- define "clusterdns.annotations" -}}
{{- $all := dict }}
{{- range . }}{{ $all = merge $all (. | default dict) }}{{ end }}
{{- with $all }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Values that are templates, topologySpreadConstraints, may use these of CoreDNS's chart. */}}
{{- define "coredns.name" -}}{{ include "clusterdns.name" . }}{{- end }}
{{- define "coredns.fullname" -}}{{ include "clusterdns.fullname" . }}{{- end }}
{{- define "coredns.k8sapplabel" -}}{{ .Values.k8sAppLabelOverride | default (include "clusterdns.name" .) }}{{- end }}
