-- only this shop has events of its orders
{{ config(enabled=env_var("SHOP_SOURCE", "shop") == "shop") }}

{% set columns = [
    "order_id",
    "customer_id",
    "store_id",
    "status_code",
    "currency_code",
    "ordered_at",
    "paid_at",
    "shipped_at",
    "delivered_at",
    "returned_at",
    "updated_at",
] | join(", ") %}

with

    orders as (select {{ columns }} from {{ ref("int_shop_orders") }}),

    rebuilt as (select {{ columns }}, last_recorded_at, is_deleted from {{ ref("int_orders_from_events") }}),

    -- orders and events are loaded one after the other: what one of them has later than all of the other is not
    -- compared
    horizon as (

        select least((select max(updated_at) from orders), (select max(last_recorded_at) from rebuilt)) as settled_at

    ),

    unsettled as (

        select orders.order_id
        from orders
        inner join horizon on orders.updated_at > horizon.settled_at
        union all
        select rebuilt.order_id
        from rebuilt
        inner join horizon on rebuilt.last_recorded_at > horizon.settled_at

    ),

    of_table as (select {{ columns }} from orders where order_id not in (select order_id from unsettled)),

    of_events as (

        select {{ columns }} from rebuilt where not is_deleted and order_id not in (select order_id from unsettled)

    ),

    only_in_table as (

        select {{ columns }}
        from of_table
        except all
        select {{ columns }}
        from of_events

    ),

    only_by_events as (

        select {{ columns }}
        from of_events
        except all
        select {{ columns }}
        from of_table

    )

select 'in the table' as found, *
from only_in_table
union all
select 'by the events' as found, *
from only_by_events
