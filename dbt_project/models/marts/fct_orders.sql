{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{{ delete_stale_days(ref('int_order_milestones'), 'ordered_at', derived=['order_key']) }}",
        post_hook="{{ remember(**inputs_of_orders()) }}",
    )
}}

{% set days = changed_days(**inputs_of_orders()) %}

with

    orders as (select * from {{ ref("int_order_milestones") }} where {{ missing_days("ordered_at", days) }}),

    final as (select {{ surrogate_key(["order_id"]) }} as order_key, * from orders)

select *
from final
