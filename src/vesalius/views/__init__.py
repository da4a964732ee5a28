"""What a person looks at: pictures and pages made of arrays and records."""
# SPDX-License-Identifier: Apache-2.0
