package main

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"encoding/pem"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// The image's files outside of the binary. Go's resolver and the kubelet read
// user names; nothing else does.
const (
	passwd = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"
	group  = "root:x:0:\nnonroot:x:65532:\n"
)

// fileSystem returns a tar archive of all that the image has.
func (b *build) fileSystem(binary, license, sbom []byte) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	dir := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }
	file := func(name string) tar.Header { return tar.Header{Name: name, Mode: 0o644} }
	for _, f := range []struct {
		tar.Header
		content []byte
	}{
		{tar.Header{Name: "clusterdns", Mode: 0o755, PAXRecords: capability()}, binary},
		{tar.Header{Name: "coredns", Typeflag: tar.TypeSymlink, Linkname: "clusterdns", Mode: 0o777}, nil},
		{dir("etc/"), nil},
		{file("etc/group"), []byte(group)},
		{file("etc/passwd"), []byte(passwd)},
		{dir("etc/ssl/"), nil},
		{dir("etc/ssl/certs/"), nil},
		{file("etc/ssl/certs/ca-certificates.crt"), certificates()},
		{dir("usr/"), nil},
		{dir("usr/share/"), nil},
		{dir("usr/share/clusterdns/"), nil},
		{file("usr/share/clusterdns/LICENSE"), license},
		{file("usr/share/clusterdns/clusterdns.cdx.json"), sbom},
	} {
		f.ModTime = b.time
		if err := add(w, f.Header, f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// add writes one file. It belongs to root.
func add(w *tar.Writer, header tar.Header, content []byte) error {
	header.Size = int64(len(content))
	header.Format = tar.FormatPAX
	if err := w.WriteHeader(&header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// capability is the extended attribute of a file that may bind ports below 1024
// and have the lane in the kernel: struct vfs_cap_data of linux/capability.h,
// revision 2, little-endian, cap_net_bind_service,cap_net_admin,cap_perfmon,cap_bpf=p.
// A container has those of them that its pod adds. The kernel refuses to run a file
// with the effective flag where the container does not have them all; without the
// flag it runs there too, on another port or with
// net.ipv4.ip_unprivileged_port_start 0. The binary makes them effective itself
// (cmd/clusterdns).
func capability() map[string]string {
	const (
		revision                 = 0x02000000
		netBindService, netAdmin = 1 << 10, 1 << 12
		perfmon, bpf             = 1 << (38 - 32), 1 << (39 - 32)
	)
	attribute := binary.LittleEndian.AppendUint32(nil, revision)
	for _, word := range []uint32{netBindService | netAdmin, 0, perfmon | bpf, 0} { // permitted, inheritable; the same of capabilities from 32 on
		attribute = binary.LittleEndian.AppendUint32(attribute, word)
	}
	return map[string]string{"SCHILY.xattr.security.capability": string(attribute)}
}

// certificates are Mozilla's roots, for forward with tls. Those that Mozilla
// trusts only with a restriction that a file cannot say are left out.
func certificates() []byte {
	var out []byte
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})...)
		}
	}
	return out
}
